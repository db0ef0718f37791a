"""CRVQ for a whole model: columns, codebooks, tuning, tensors. Needs torch; see `run`."""
