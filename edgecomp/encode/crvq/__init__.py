"""Encoding by additive codebooks with critical columns: CRVQ (arXiv 2412.09282).

Needs torch, which is imported with the modules of this package, never with edgecomp. `layer` is
the way through: importance -> codebooks -> error feedback -> solves and sweeps.
"""
