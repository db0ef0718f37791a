"""The coded linears as tensors of a container, permutations folded where they can be."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from edgecomp.checkpoint import Checkpoint
from edgecomp.crvq.coded_model import CodedModel, CodedTensor
from edgecomp.encode.crvq.export import (
    CodebookType,
    CodedStage,
    IntegerCodebooks,
    StoredMatrix,
    integer_codebooks,
    stored_tensor,
)
from edgecomp.encode.settings import CrvqSettings
from edgecomp.encode.source import WeightError
from runtime_ops.formats import EncodedTensor

__all__ = ["coded_tensors", "folds"]

# Model types whose blocks compute down(f(gate(x)) * up(x)) with an elementwise f.
GATED = {"cohere", "gemma", "gemma2", "gemma3_text", "granite", "llama", "mistral", "olmo", "olmo2",
         "qwen2", "qwen3", "smollm3"}  # fmt: skip


def coded_tensors(
    coded: CodedModel, checkpoint: Checkpoint, settings: CrvqSettings
) -> Iterator[tuple[str, EncodedTensor]]:
    """Every coded linear by name; the rows of gate and up go by the order of down's columns.

    WeightError for one that no container holds.
    """
    books = {group: book_set(coded, group, settings) for group in sorted(coded.codebooks)}
    folded = folds(coded, checkpoint)
    row_orders = {
        name: coded.tensors[down].order.cpu().numpy()
        for down, producers in folded.items()
        for name in producers
    }
    for name, tensor in coded.tensors.items():
        order = tensor.order.cpu().numpy()
        source = checkpoint.source(name)
        original = source.read(0, math.prod(source.shape)).reshape(tensor.shape)
        if name in folded:
            original, kept = original[:, order], None
        else:
            kept = None if (order == np.arange(len(order))).all() else order
        rows = row_orders.get(name)
        if rows is not None:
            original = original[rows]
        stored = stored_matrix(tensor, books[tensor.group], kept, rows)
        try:
            encoded = stored_tensor(stored, original)
        except WeightError as error:
            raise WeightError(f"tensor {name}: {error}", error.hint) from error
        yield name, encoded


def folds(coded: CodedModel, checkpoint: Checkpoint) -> dict[str, tuple[str, str]]:
    """Linears whose permutation moves into the rows of others: {down: (gate, up)}.

    Of gated feed-forward layers without biases, since an elementwise product does not mind the
    order of its rows.
    """
    if checkpoint.config.get("model_type") not in GATED:
        return {}
    stored = {entry.name for entry in checkpoint.tensors}
    found = {}
    for name in coded.tensors:
        if not name.endswith(".down_proj.weight"):
            continue
        prefix = name.removesuffix("down_proj.weight")
        producers = (f"{prefix}gate_proj.weight", f"{prefix}up_proj.weight")
        biases = {producer.removesuffix("weight") + "bias" for producer in producers}
        if all(producer in coded.tensors for producer in producers) and not biases & stored:
            found[name] = producers
    return found


def book_set(
    coded: CodedModel, group: str, settings: CrvqSettings
) -> tuple[IntegerCodebooks, IntegerCodebooks | None]:
    """A group's codebooks as integers: the ones of dimension `dim`, and the one of scalars.

    Codebooks behind the last one that a tensor uses are left out.
    """
    tensors = [tensor for tensor in coded.tensors.values() if tensor.group == group]
    n_used = 1 + max(stage.codebook for tensor in tensors for stage in tensor.stages)
    floats = [book.cpu().double().numpy() for book in coded.codebooks[group][:n_used]]
    n_main = 1 if settings.critical_codes == "scalar" else len(floats)
    main, scalar = floats[:n_main], floats[n_main:]
    sizes = [math.prod(tensor.shape) for tensor in tensors]
    dtype = choose_dtype(main, sum(sizes), settings)
    return integer_codebooks(main, dtype), integer_codebooks(scalar, dtype) if scalar else None


def choose_dtype(
    books: list[NDArray[np.float64]], n_weights: int, settings: CrvqSettings
) -> CodebookType:
    """int8, unless its rounding costs more than the bytes of int16.

    Both in bits per weight: log2(1 + r / l) / 2 for the rounding's squared error r relative to the
    codewords', where l = 4^-rate is the least loss that a code of the basic rate can have.
    """
    if settings.codebook_dtype != "auto":
        return settings.codebook_dtype
    rounded = integer_codebooks(books, "int8").values
    exact = np.stack(books)
    power = np.square(exact[0]).mean()
    if not power > 0:
        return "int8"
    error = np.square(rounded - exact)[0].mean() / power
    least = 4.0 ** -(settings.codebook_bits / settings.dim)
    return "int8" if math.log2(1 + error / least) / 2 <= 8 * exact.size / n_weights else "int16"


def stored_matrix(
    tensor: CodedTensor,
    books: tuple[IntegerCodebooks, IntegerCodebooks | None],
    order: NDArray[np.integer] | None,
    rows: NDArray[np.integer] | None,
) -> StoredMatrix:
    """A coded tensor ready to be written, with its rows in the given order."""
    main, scalar = books
    picked = slice(None) if rows is None else rows
    stages = sorted(tensor.stages, key=lambda stage: stage.codebook)
    coded = [(stage.codebook, CodedStage(stage.codes.cpu().numpy()[picked])) for stage in stages]
    n_main = len(main.shifts)
    critical = tuple(stage for number, stage in coded if number >= n_main)
    return StoredMatrix(
        shape=tensor.shape,
        scales=tensor.scales.cpu().double().numpy()[picked],
        order=order,
        stages=tuple(stage for number, stage in coded if number < n_main),
        books=main,
        n_critical=tensor.n_critical if critical else 0,
        critical=critical,
        critical_books=scalar if critical else None,
    )


def tuned_vectors(coded: CodedModel) -> Mapping[str, NDArray[np.float32]]:
    """Norms and biases that tuning changed, float32, by tensor name."""
    return {name: vector.cpu().float().numpy() for name, vector in coded.vectors.items()}
