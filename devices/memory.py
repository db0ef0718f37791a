"""How much memory a language model takes on a device while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from devices.cost import BATCH
from devices.work import KvKind, LanguageModel

__all__ = ["Resident", "peak_resident"]

PROGRAM_BYTES = 2_500_000  # code, stacks and what the C library keeps, of edgecomp-run
QUERIES, TILE = 16, 32  # of attention's work: runtime_ops/csrc/runner/attention.c
BLOCK, LINE = 32, 64  # activations that share a scale; bytes of a cache line


@dataclass(frozen=True)
class Resident:
    """Bytes that are resident at most, by what they hold."""

    weights: int  # of the file, which is mapped: the system may drop them under pressure
    kv: int
    work: int
    program: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.kv + self.work + self.program


def peak_resident(
    model: LanguageModel, context: int, threads: int, kv: KvKind = "f16", tokens: int = BATCH
) -> Resident:
    """What edgecomp-run has resident with a full context; `tokens` are evaluated together.

    All of the file counts. Of an embedding that is no head each token reads a row, with which the
    system maps 64 KiB, and Linux from 6.18 on up to 2 MiB: a short text leaves some of it out.
    """
    heads = model.attention
    d_q, d_kv = heads.n_heads * heads.d_head, heads.n_kv_heads * heads.d_head
    wide = max(model.d_model, d_q)
    floats = model.d_model + 2 * wide + max(wide, model.d_ff) + max(2 * d_kv, model.d_ff)
    floats += heads.d_head  # angles of positions
    parts = 1 if threads == 1 else 2 * threads
    stride = -(-context // TILE) * TILE
    attention = parts * (QUERIES * stride + (TILE + QUERIES) * heads.d_head)
    widest = max(loop.quantised for layer in model.layers for loop in layer.loops)
    quantised = 0 if widest == 0 else widest + LINE + 8 * -(-widest // BLOCK)
    norms = len(model.layers) * 2 * model.d_model + model.d_model
    work = 4 * (tokens * floats + attention + norms + model.n_vocab) + tokens * quantised
    return Resident(model.file_bytes, model.kv_bytes(context, kv), work, PROGRAM_BYTES)
