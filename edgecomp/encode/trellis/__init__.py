"""Weights to trellis codes: rotation, feedback, and the cheapest path of states."""
