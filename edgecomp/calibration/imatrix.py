"""Statistics as llama.cpp's imatrix, and the names that both have for a tensor."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgecomp.calibration.errors import CalibrationError
from edgecomp.calibration.imatrix_file import SUMS, TOKENS
from edgecomp.checkpoint import Checkpoint, hyperparameters
from edgecomp.inputs import Inputs, lies_in

if TYPE_CHECKING:
    from edgecomp.calibration.statistics import Statistics

__all__ = ["check_output", "checkpoint_names", "ggml_names", "write_imatrix"]

# What transformers calls an architecture where llama.cpp's name differs by more than - and _.
ARCHITECTURES = {
    "cohere": "command-r",
    "gemma3_text": "gemma3",
    "mistral": "llama",
    "mixtral": "llama",
    "phi": "phi2",
    "qwen2_moe": "qwen2moe",
}


def ggml_names(checkpoint: Checkpoint) -> dict[str, str]:
    """llama.cpp's name of every tensor of a checkpoint that it has one for.

    Raises CalibrationError for an architecture that llama.cpp does not have.
    """
    import gguf

    model_type = str(checkpoint.config.get("model_type"))
    wanted = ARCHITECTURES.get(model_type, model_type)
    found = [arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if plain(name) == plain(wanted)]
    if not found:
        raise CalibrationError(
            f"llama.cpp has no architecture {model_type}: its imatrix cannot name the tensors",
            "leave the imatrix out: a folder of statistics works for every architecture",
        )
    n_blocks = hyperparameters(checkpoint.config).get("block_count", 0)
    names = gguf.get_tensor_name_map(found[0], n_blocks if isinstance(n_blocks, int) else 0)
    mapped = {
        entry.name: names.get_name(entry.name, try_suffixes=(".weight", ".bias"))
        for entry in checkpoint.tensors
    }
    return {name: ggml for name, ggml in mapped.items() if ggml is not None}


def checkpoint_names(checkpoint: Checkpoint) -> dict[str, str]:
    """The checkpoint's name of every tensor, by llama.cpp's."""
    return {ggml: name for name, ggml in ggml_names(checkpoint).items()}


def plain(name: str) -> str:
    """An architecture's name without what writers set differently."""
    return name.replace("-", "").replace("_", "")


def check_output(path: Path, folder: Path, inputs: Inputs) -> None:
    """CalibrationError unless a file can be written there, outside of the statistics' folder.

    It must not be a file of the inputs either.
    """
    if lies_in(path, folder):
        raise CalibrationError(f"{path} lies in the folder of the statistics", f"try {folder}.gguf")
    if path.exists() and not path.is_file():
        raise CalibrationError(f"{path} is not a regular file", "give a name such as imatrix.gguf")
    if not path.parent.is_dir():
        raise CalibrationError(f"no folder {path.parent}", f"mkdir -p {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise CalibrationError(f"{path.parent} is not writable", "choose another folder")
    damage = inputs.damage(path)
    if damage is not None:
        raise CalibrationError(f"{path} {damage}", "give another name, such as imatrix.gguf")


def write_imatrix(
    statistics: Statistics,
    checkpoint: Checkpoint,
    path: Path,
    text_name: str,
    note: Callable[[str], None],
) -> None:
    """Writes the diagonals as a GGUF file that llama-quantize reads, all of it or nothing.

    The head is left out, as llama-imatrix does unless it is asked. Raises CalibrationError when the
    file cannot be written.
    """
    import gguf

    class ImatrixWriter(gguf.GGUFWriter):
        """A GGUF file without an architecture, which an imatrix has none of."""

        def add_architecture(self) -> None:
            """Writes no key."""

    names = ggml_names(checkpoint)
    in_blocks = {name: names[name] for name in statistics.tensors if is_block(names.get(name))}
    left_out = [name for name in statistics.tensors if name not in names]
    if left_out:
        note(f"the imatrix leaves out {len(left_out)} tensors that llama.cpp has no name for, "
             f"such as {left_out[0]}")  # fmt: skip
    temporary = path.with_name(f".{path.name}.tmp")
    writer = ImatrixWriter(temporary, "imatrix")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", [text_name])
    writer.add_uint32("imatrix.chunk_count", statistics.windows)
    writer.add_uint32("imatrix.chunk_size", statistics.tokens // statistics.windows)
    for name, ggml in sorted(in_blocks.items(), key=lambda item: item[1]):
        sums = statistics.diagonal(name).astype(np.float64) * statistics.tokens
        writer.add_tensor(ggml + SUMS, sums.astype(np.float32)[None])
        writer.add_tensor(ggml + TOKENS, np.array([[statistics.tokens]], np.float32))
    try:
        with contextlib.closing(writer):
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CalibrationError(
            f"{path}: {error.strerror or error}", "check that the folder has free space"
        ) from error


def is_block(ggml: str | None) -> bool:
    """Whether a tensor of that name lies in a block."""
    return ggml is not None and ggml.startswith("blk.")
