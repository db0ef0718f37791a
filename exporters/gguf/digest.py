"""The SHA-256 of a tensor, of everything that decoding depends on (docs/format.md, "Digest")."""

from __future__ import annotations

import hashlib
import struct

import numpy as np

from exporters.gguf.codecs import CODECS, format_table
from runtime_ops.formats import EncodedTensor


def digest(tensor: EncodedTensor) -> str:
    """64 hexadecimal digits: of the tensor's format, table, shape, error bound and parts."""
    shape, table = tensor.shape, format_table(tensor.format)
    sha256 = hashlib.sha256(b"edgecomp" + CODECS[tensor.format.codec].record(tensor.format))
    if table is not None:
        sha256.update(table.data)
    sha256.update(struct.pack(f"<I{len(shape)}Qf", len(shape), *shape, tensor.error_bound))
    for part in tensor.parts.values():
        sha256.update(np.ascontiguousarray(part).data)
    return sha256.hexdigest()
