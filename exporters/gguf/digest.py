"""The SHA-256 of a tensor, of everything that decoding depends on (docs/format.md, "Digest")."""

from __future__ import annotations

import hashlib
import struct

import numpy as np

from exporters.gguf.codecs import CODECS, format_table
from runtime_ops.formats import EncodedTensor, Format


def digest(tensor: EncodedTensor) -> str:
    """64 hexadecimal digits: of the tensor's format, tables, shape, error bound and parts."""
    shape = tensor.shape
    sha256 = hashlib.sha256(b"edgecomp" + format_record(tensor.format))
    sha256.update(struct.pack(f"<I{len(shape)}Qf", len(shape), *shape, tensor.error_bound))
    for part in tensor.parts.values():
        sha256.update(np.ascontiguousarray(part).data)
    return sha256.hexdigest()


def format_record(fmt: Format) -> bytes:
    """Parameters of a format, its table, then the same of the formats that it is made of."""
    codec = CODECS[fmt.codec]
    table = format_table(fmt)
    record = codec.record(fmt) + (b"" if table is None else table.data)
    return record + b"".join(map(format_record, codec.formats(fmt)))
