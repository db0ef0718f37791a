"""Trellis codes of a whole model, tuned against the original. Needs torch; see `run`."""
