"""Plain k-means: the start of every codebook, and the published initialisation by itself."""

from __future__ import annotations

import torch
from torch import Tensor

from edgecomp.encode.crvq.matrix import first_least

__all__ = ["distortion", "kmeans", "nearest"]

PIECE = 1 << 12  # vectors compared with all codewords at once: 4 MiB of float32 at 256 codewords


def kmeans(vectors: Tensor, codewords: int, iterations: int, generator: torch.Generator) -> Tensor:
    """A codebook for vectors (n, dim), float (codewords, dim), by Lloyd's iteration.

    Starts at `codewords` of the vectors, drawn without replacement; where there are fewer vectors,
    at all of them and shrunken copies. Stops early when nothing moves; a codeword without vectors
    stays.
    """
    n = len(vectors)
    order = torch.randperm(n, generator=generator)
    picks = order.repeat(-(-codewords // n))[:codewords]
    shrink = 0.5 ** (torch.arange(codewords) // n).to(vectors.dtype)
    codebook = vectors[picks.to(vectors.device)] * shrink.to(vectors.device)[:, None]
    for _ in range(iterations):
        codes = nearest(vectors, codebook)
        counts = torch.bincount(codes, minlength=codewords).to(vectors.dtype)
        sums = torch.zeros_like(codebook).index_add_(0, codes, vectors)
        moved = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], codebook)
        done = torch.allclose(moved, codebook, rtol=1e-6, atol=1e-8)
        codebook = moved
        if done:
            break
    return codebook


def nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """The nearest codeword of every vector (n, dim), int64 (n,)."""
    norms = codebook.square().sum(1)
    pieces = [
        first_least(torch.addmm(norms, vectors[i : i + PIECE], codebook.T, alpha=-2))
        for i in range(0, len(vectors), PIECE)
    ]
    return torch.cat(pieces)


def distortion(vectors: Tensor, codebook: Tensor) -> float:
    """The mean square error of vectors (n, dim) with their nearest codewords."""
    return float((vectors - codebook.index_select(0, nearest(vectors, codebook))).square().mean())
