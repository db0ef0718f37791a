"""What a container holds: tensors, codecs, sizes, error bounds and checksums."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgecomp.progress import ProgressCallback, Step
from exporters.gguf import Container, ContainerError, open_container
from exporters.gguf.digest import digest
from exporters.gguf.format_list import FormatList
from runtime_ops.formats import ColumnsFormat, Format, RawFormat

__all__ = ["Inspection", "TensorRow", "damaged_tensors", "inspect_container", "read_container"]


@dataclass(frozen=True)
class TensorRow:
    """One tensor of a container."""

    name: str
    shape: tuple[int, ...]
    codec: str  # those of its columns as well: columns(winding+crvq)
    n_weights: int
    n_bytes: int
    bpw: float  # of everything stored for the tensor alone, so without tables that formats share
    error_bound: float  # largest Euclidean distance of a group of weights from the original
    sha256: str


@dataclass(frozen=True)
class Inspection:
    """A container's contents.

    `damaged` lists the tensors whose sha256 is wrong; None when that was not checked.
    """

    path: Path
    settings: str
    tensors: tuple[TensorRow, ...]
    table_bytes: int  # of the formats of all tensors that are encoded, each table once
    file_bytes: int
    damaged: tuple[str, ...] | None

    @property
    def n_weights(self) -> int:
        """Weights of all tensors."""
        return sum(row.n_weights for row in self.tensors)

    @property
    def bpw(self) -> float:
        """Whole-file bits per weight."""
        return 8 * self.file_bytes / max(1, self.n_weights)

    @property
    def body_bpw(self) -> float:
        """Bits per weight of the tensors that a codec encodes, tables included, without padding."""
        rows = [row for row in self.tensors if row.codec != RawFormat.codec]
        n_bytes = self.table_bytes + sum(row.n_bytes for row in rows)
        return 8 * n_bytes / max(1, sum(row.n_weights for row in rows))


def inspect_container(
    path: Path, verify: bool = False, progress: ProgressCallback = lambda step: None
) -> Inspection:
    """The contents of a container; with `verify`, every checksum is computed again.

    Raises ContainerError for a file that is not a container, OSError when it cannot be read.
    """
    with read_container(path) as container:
        rows = [
            TensorRow(
                name=entry.name,
                shape=entry.shape,
                codec=codec_text(entry.format),
                n_weights=entry.n_weights,
                n_bytes=entry.n_bytes,
                bpw=8 * entry.n_bytes / entry.n_weights,
                error_bound=entry.error_bound,
                sha256=entry.sha256,
            )
            for entry in container.tensors
        ]
        formats = [entry.format for entry in container.tensors]
        return Inspection(
            path=path,
            settings=container.settings,
            tensors=tuple(rows),
            table_bytes=sum(len(table.data) for table in FormatList(formats).tables),
            file_bytes=container.file_bytes,
            damaged=damaged_tensors(container, progress) if verify else None,
        )


def codec_text(fmt: Format) -> str:
    """The codec of a format; with those that it is made of, critical columns first."""
    if not isinstance(fmt, ColumnsFormat):
        return fmt.codec
    made_of = [fmt.rest] if fmt.critical is None else [fmt.critical, fmt.rest]
    return f"{fmt.codec}({'+'.join(part.codec for part in made_of)})"


def damaged_tensors(
    container: Container, progress: ProgressCallback = lambda step: None
) -> tuple[str, ...]:
    """Names of the tensors whose sha256 is not the stored one, in file order."""
    entries = container.tensors
    step = Step("verify", "", 0, len(entries), 0, sum(entry.n_bytes for entry in entries))
    damaged = []
    for entry in entries:
        progress(replace(step, item=entry.name))
        if digest(container.read(entry.name)) != entry.sha256:
            damaged.append(entry.name)
        step = replace(
            step, items_done=step.items_done + 1, bytes_done=step.bytes_done + entry.n_bytes
        )
    progress(step)
    return tuple(damaged)


def read_container(path: Path) -> Container:
    """The opened container at `path`; ContainerError names the file."""
    try:
        return open_container(path)
    except ContainerError as error:
        raise ContainerError(f"{path}: {error}") from error
