"""llama.cpp's file of a Llama checkpoint: written for its tools, and read back as weights.

The keys and names are those of llama.cpp's own converter, which refuses unknown tokenizers. It
rotates neighbouring rows of q and k where transformers rotates the two halves of a head.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import dequantize
from numpy.typing import NDArray

from edgecomp.checkpoint import Checkpoint, hyperparameters, tokenizer_keys

ARCHITECTURE = "llama"
PERMUTED = {"q_proj": "attention.head_count", "k_proj": "attention.head_count_kv"}
COMPUTED = ".rotary_emb.inv_freq"  # in old checkpoints; neither network stores it


class PeerError(ValueError):
    """A peer that cannot be measured; `hint` says what to do about it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Extents(gguf.GGUFReader):
    """Bytes of every tensor of a file by name, whatever its type, with the padding behind it."""

    def _build_tensors(self, start_offs: int, fields: list[gguf.ReaderField]) -> None:
        """Instead of gguf's, which refuses types that it does not know."""
        starts = {bytes(field.parts[1]).decode(): int(field.parts[5][0]) for field in fields}
        ends = [*sorted(starts.values())[1:], self.data.size - start_offs]
        ordered = sorted(starts.items(), key=lambda item: item[1])
        self.n_bytes = {name: end - at for (name, at), end in zip(ordered, ends, strict=True)}


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Writes the checkpoint in float32, which every weight survives.

    (bfloat16 loses below 6e-5 in float16.) Raises PeerError for what is not a Llama with plain
    rotary positions, TokenizerError for a tokenizer that GGUF's keys cannot express.
    """
    check_config(checkpoint)
    partial = path.with_name(f"{path.name}.partial")
    writer = gguf.GGUFWriter(None, ARCHITECTURE)
    writer.add_name(checkpoint.name)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    keys = model_keys(checkpoint)
    vocab_size = keys.get(f"{ARCHITECTURE}.vocab_size")
    keys |= tokenizer_keys(
        checkpoint.folder, vocab_size if isinstance(vocab_size, int) else None
    ).items()
    for key, value in keys.items():
        add_key(writer, key, value)
    for name, stored_name in file_names(checkpoint).items():
        source = checkpoint.source(name)
        weights = source.read(0, int(np.prod(source.shape))).reshape(source.shape)
        writer.add_tensor(stored_name, interleave(weights, n_heads(checkpoint, name)))
    writer.write_header_to_file(partial)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(partial, path)


def read(path: Path, checkpoint: Checkpoint) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Name and weights, float32 in the checkpoint's shape, of every tensor, decoded by gguf."""
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    for name, stored_name in file_names(checkpoint).items():
        tensor = stored[stored_name]
        weights = np.array(dequantize(tensor.data, tensor.tensor_type), np.float32)
        yield name, separate(weights, n_heads(checkpoint, name))


def tensor_bytes(path: Path, checkpoint: Checkpoint) -> dict[str, int]:
    """Bytes of each of the checkpoint's tensors in a file of any build."""
    n_bytes = Extents(path).n_bytes
    return {name: n_bytes[stored] for name, stored in file_names(checkpoint).items()}


def check_config(checkpoint: Checkpoint) -> None:
    """PeerError unless the network is a Llama with plain rotary positions."""
    found = checkpoint.config.get("model_type")
    if found != "llama":
        raise PeerError(
            f"{checkpoint.name}: model_type is {found!r}, expected 'llama'",
            "leave out --peers and --peer for this model",
        )
    for key in ("rope_parameters", "rope_scaling"):
        rope = checkpoint.config.get(key)
        kind = rope.get("rope_type", rope.get("type")) if isinstance(rope, dict) else None
        if kind not in (None, "default"):
            raise PeerError(
                f"{checkpoint.name}: {key} are of type {kind!r}, expected 'default'",
                "leave out --peers and --peer for this model",
            )


def model_keys(checkpoint: Checkpoint) -> dict[str, object]:
    """The keys `llama.*` that llama.cpp builds the network from."""
    found = hyperparameters(checkpoint.config)
    numbers = {key: value for key, value in found.items() if key not in ("architecture", "config")}
    width, heads = (
        number(checkpoint, "embedding_length"),
        number(checkpoint, "attention.head_count"),
    )
    head = numbers.setdefault("attention.key_length", width // heads)
    numbers |= {"attention.value_length": head, "rope.dimension_count": head}
    return {f"{ARCHITECTURE}.{key}": value for key, value in numbers.items()}


def number(checkpoint: Checkpoint, key: str) -> int:
    """A whole number of the checkpoint's config by llama.cpp's name; PeerError without it."""
    value = hyperparameters(checkpoint.config).get(key)
    if not isinstance(value, int):
        raise PeerError(f"{checkpoint.name}: config.json lacks {key}", "complete config.json")
    return value


def add_key(writer: gguf.GGUFWriter, key: str, value: object) -> None:
    """Adds a key in the type that llama.cpp asks for: it converts none."""
    types = {bool: gguf.GGUFValueType.BOOL, int: gguf.GGUFValueType.UINT32}
    types |= {float: gguf.GGUFValueType.FLOAT32, str: gguf.GGUFValueType.STRING}
    if isinstance(value, list):
        signed = types | {int: gguf.GGUFValueType.INT32}  # the types of tokens
        item = signed[type(value[0])]
        writer.add_key_value(key, value, gguf.GGUFValueType.ARRAY, sub_type=item)
    else:
        writer.add_key_value(key, value, types[type(value)])


def file_names(checkpoint: Checkpoint) -> dict[str, str]:
    """llama.cpp's name of each of the checkpoint's tensors."""
    table = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, number(checkpoint, "block_count"))
    names = {}
    for entry in checkpoint.tensors:
        if entry.name.endswith(COMPUTED):
            continue
        found = table.get_name(entry.name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise PeerError(
                f"{checkpoint.name}: tensor {entry.name} has no place in llama.cpp's network",
                "leave out --peers and --peer for this model",
            )
        names[entry.name] = found
    return names


def n_heads(checkpoint: Checkpoint, name: str) -> int:
    """Heads whose rows are permuted in the tensor of that name; 0 where none are."""
    for part, key in PERMUTED.items():
        if f".{part}." in name:
            shared = hyperparameters(checkpoint.config).get(key)
            return shared if isinstance(shared, int) else number(checkpoint, PERMUTED["q_proj"])
    return 0


def interleave(weights: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows (heads * d, ...) with each head's halves row by row: 0, d / 2, 1, d / 2 + 1, ..."""
    if heads == 0:
        return weights
    halves = weights.reshape(heads, 2, -1, *weights.shape[1:])
    return halves.swapaxes(1, 2).reshape(weights.shape)


def separate(weights: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """The inverse of `interleave`."""
    if heads == 0:
        return weights
    pairs = weights.reshape(heads, -1, 2, *weights.shape[1:])
    return pairs.swapaxes(1, 2).reshape(weights.shape)
