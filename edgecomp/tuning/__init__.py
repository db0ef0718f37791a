"""Tunes the coded linears of a model, whatever their codec, against the original. Needs torch."""
