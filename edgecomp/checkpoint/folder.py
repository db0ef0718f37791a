"""A model as it was published: a Hugging Face folder or hub id, opened without reading weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgecomp.checkpoint.hub import download, is_hub_id
from edgecomp.checkpoint.safetensors_file import (
    CheckpointError,
    TensorEntry,
    TensorSource,
    read_header,
)
from edgecomp.checkpoint.shard_index import INDEX_NAME, read_index, read_json
from edgecomp.encode import WeightSource

__all__ = ["Checkpoint", "CheckpointError", "TensorEntry", "open_checkpoint"]

WEIGHT_DTYPES = ("F32", "F16", "BF16")
PICKLES = (".bin", ".pth", ".pt")
# Integer buffers that modules save beside their weights and build anew by themselves.
BUFFERS = ("position_ids", "num_batches_tracked")
COMPARE_BYTES = 1 << 22


@dataclass(frozen=True)
class Checkpoint:
    """An opened model: `config` is config.json, `tensors` all weight tensors by name.

    `notes` says what was left out on purpose. Weights are read piece by piece through `source`.
    """

    name: str
    folder: Path
    config: Mapping[str, object]
    tokenizer: Path | None  # tokenizer.json
    tensors: tuple[TensorEntry, ...]
    notes: tuple[str, ...] = ()

    @property
    def n_weights(self) -> int:
        """Weights of all tensors."""
        return sum(entry.n_weights for entry in self.tensors)

    @property
    def n_bytes(self) -> int:
        """Bytes of all tensors as stored."""
        return sum(entry.n_bytes for entry in self.tensors)

    @property
    def shards(self) -> tuple[Path, ...]:
        """The weight files, sorted."""
        return tuple(sorted({entry.shard for entry in self.tensors}))

    def source(self, name: str) -> WeightSource:
        """The weights of the tensor of that name; KeyError when there is none."""
        for entry in self.tensors:
            if entry.name == name:
                return TensorSource(entry)
        raise KeyError(name)


def open_checkpoint(model: str) -> Checkpoint:
    """The checkpoint in the folder `model`, or of the hub id `model` after its download.

    Raises CheckpointError when there is no such model or when its files are not complete.
    """
    try:
        folder = Path(model).expanduser()
    except RuntimeError as error:  # ~name of a user who does not exist
        raise CheckpointError(f"{model}: {error}", "give the folder's full path") from error
    if folder.is_dir():
        return open_folder(folder, folder.resolve().name)
    if folder.exists():
        raise CheckpointError(
            f"{model} is a file, expected a model folder or a hub id",
            "give the folder that holds config.json and model.safetensors",
        )
    if not is_hub_id(model):
        raise CheckpointError(
            f"no folder {model}",
            "give a Hugging Face folder, or a hub id such as HuggingFaceTB/SmolLM2-135M",
        )
    return open_folder(download(model), model)


def open_folder(folder: Path, name: str) -> Checkpoint:
    """The checkpoint in a folder, under the given name."""
    found = find_tensors(folder)
    config = read_json(folder / "config.json", "every Hugging Face model folder has one")
    entries, notes = select_weights(found)
    if not entries:
        raise CheckpointError(f"{folder}: the weight files hold no tensors", "save the model again")
    entries, tied_notes = drop_tied_head(entries, config)
    tokenizer = folder / "tokenizer.json"
    return Checkpoint(
        name=name,
        folder=folder,
        config=config,
        tokenizer=tokenizer if tokenizer.is_file() else None,
        tensors=tuple(sorted(entries, key=lambda entry: entry.name)),
        notes=(*notes, *tied_notes),
    )


def find_tensors(folder: Path) -> dict[str, TensorEntry]:
    """Every tensor of a folder's safetensors files by name."""
    single = folder / "model.safetensors"
    if single.is_file():
        return read_header(single)
    index = folder / INDEX_NAME
    if index.is_file():
        return read_shards(folder, index)
    files = sorted(folder.glob("*.safetensors"))
    if len(files) == 1:
        return read_header(files[0])
    if files:
        raise CheckpointError(
            f"{folder}: {len(files)} safetensors files and no {INDEX_NAME}",
            "download the index file as well",
        )
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if pickles:
        raise CheckpointError(
            f"{folder}: the weights are in a pickle file ({pickles[0]}), expected safetensors",
            'convert it once: python -c "from transformers import AutoModelForCausalLM as M; '
            f"M.from_pretrained('{folder}').save_pretrained('{folder}-safetensors')\"",
        )
    raise CheckpointError(
        f"{folder}: no model.safetensors and no {INDEX_NAME}",
        "give the folder that holds config.json and the weight files",
    )


def read_shards(folder: Path, index: Path) -> dict[str, TensorEntry]:
    """The tensors that a shard index lists, each found in the shard that it names."""
    headers: dict[str, dict[str, TensorEntry]] = {}
    found: dict[str, TensorEntry] = {}
    for name, shard in read_index(index).items():
        if shard not in headers:
            if not (folder / shard).is_file():
                raise CheckpointError(
                    f"{folder}: shard {shard} is missing, tensor {name} is in it",
                    "the download is incomplete; fetch the missing file",
                )
            headers[shard] = read_header(folder / shard)
        if name not in headers[shard]:
            raise CheckpointError(
                f"{folder / shard}: tensor {name} is missing, {INDEX_NAME} says it is there",
                "index and shards are of different versions; download both again",
            )
        found[name] = headers[shard][name]
    return found


def select_weights(found: Mapping[str, TensorEntry]) -> tuple[list[TensorEntry], list[str]]:
    """The tensors that hold weights, and notes on the buffers that do not."""
    entries: list[TensorEntry] = []
    notes: list[str] = []
    for name, entry in found.items():
        if entry.dtype in WEIGHT_DTYPES:
            if entry.n_weights == 0:
                raise CheckpointError(
                    f"{entry.shard}: tensor {name} has the shape {list(entry.shape)}, no weights",
                    "remove the empty tensor from the checkpoint",
                )
            entries.append(entry)
        elif entry.dtype == "I64" and name.rpartition(".")[2] in BUFFERS:
            notes.append(f"{name} is left out: an integer buffer, not a weight")
        else:
            raise CheckpointError(
                f"{entry.shard}: tensor {name} has dtype {entry.dtype}, expected F32, F16 or BF16",
                "convert float64 weights to float32; an already quantised model cannot be "
                "compressed, start from the original",
            )
    return entries, notes


def drop_tied_head(
    entries: list[TensorEntry], config: Mapping[str, object]
) -> tuple[list[TensorEntry], list[str]]:
    """The tensors without lm_head.weight where it repeats a tied embedding, and a note on it."""
    heads = [entry for entry in entries if entry.name == "lm_head.weight"]
    if not heads or config.get("tie_word_embeddings") is not True:
        return entries, []
    head = heads[0]
    for entry in entries:
        if entry is not head and is_embedding(entry.name) and same_bytes(entry, head):
            note = f"lm_head.weight is left out: it is tied to {entry.name} and identical"
            return [kept for kept in entries if kept is not head], [note]
    return entries, ["lm_head.weight is kept: the config ties it, but its weights differ"]


def is_embedding(name: str) -> bool:
    """Whether a tensor of that name may be a token embedding."""
    return re.search(r"(embed\w*|wte)\.weight$", name) is not None


def is_head(name: str) -> bool:
    """Whether a tensor of that name may be a language model's head."""
    return re.search(r"(lm_head|embed_out|^output)\.weight$", name) is not None


def same_bytes(a: TensorEntry, b: TensorEntry) -> bool:
    """Whether two tensors have the same shape, dtype and bytes; read in pieces."""
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return False
    with a.shard.open("rb") as file_a, b.shard.open("rb") as file_b:
        file_a.seek(a.offset)
        file_b.seek(b.offset)
        for done in range(0, a.n_bytes, COMPARE_BYTES):
            count = min(COMPARE_BYTES, a.n_bytes - done)
            if file_a.read(count) != file_b.read(count):
                return False
    return True
