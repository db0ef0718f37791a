"""A model as group integers in a file with the same metadata as ours, so that bytes compare."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gguf
import integers
import numpy as np
from numpy.typing import NDArray

from exporters.gguf import Container
from runtime_ops import RawFormat


def write(
    path: Path, like: Container, weights: dict[str, NDArray[np.float32]], bits: int
) -> dict[str, int]:
    """Bytes of each tensor that this writes: as integers what `like` encodes, the others raw.

    Model keys and tokenizer are those of `like`; per tensor there is a name and nothing else.
    """
    n_bytes = {entry.name: entry.n_bytes for entry in like.tensors}
    writer = gguf.GGUFWriter(None, "integers")
    for key, value in like.metadata.items():
        if key.startswith(("edgecomp.model.", "tokenizer.")):
            add_key(writer, key, value)
    for entry in like.tensors:
        if isinstance(entry.format, RawFormat):
            writer.add_tensor(entry.name, np.asarray(like.read(entry.name).parts["raw"]))
            continue
        quantized = integers.quantize(weights[entry.name], bits)
        n_bytes[entry.name] = quantized.n_bytes
        writer.add_tensor(f"{entry.name}.codes", quantized.codes.view(np.int8))
        writer.add_tensor(f"{entry.name}.zeros", quantized.zeros.view(np.int8))
        writer.add_tensor(f"{entry.name}.scales", quantized.scales)
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return n_bytes


def read(
    path: Path, shapes: dict[str, tuple[int, ...]], bits: int
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Name and weights, float32 of the shape, of every tensor in the file."""
    parts = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
    for name, shape in shapes.items():
        if name in parts:
            yield name, parts[name].astype(np.float32).reshape(shape)
        else:
            codes, zeros = (parts[f"{name}.{part}"].view(np.uint8) for part in ("codes", "zeros"))
            scales = np.asarray(parts[f"{name}.scales"], np.float16)
            yield name, integers.dequantize(integers.Integers(shape, bits, codes, zeros, scales))


def add_key(writer: gguf.GGUFWriter, key: str, value: object) -> None:
    """Copies a key of our reader's metadata."""
    types = {bool: gguf.GGUFValueType.BOOL, int: gguf.GGUFValueType.INT32}
    types |= {float: gguf.GGUFValueType.FLOAT32, str: gguf.GGUFValueType.STRING}
    if isinstance(value, list):
        item = types[type(value[0])]
        writer.add_key_value(key, value, gguf.GGUFValueType.ARRAY, sub_type=item)
    else:
        writer.add_key_value(key, value, types[type(value)])
