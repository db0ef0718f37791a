"""Encoded trellis tensors as a model that can be tuned, and back; its files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgecomp.encode.row_scales import stored_row_scales
from edgecomp.encode.source import WeightError
from edgecomp.encode.trellis.codes import TrellisCode, known_codes
from edgecomp.trellis.coded_tensor import TrellisTensor, coded_span
from edgecomp.tuning.names import kind_of
from edgecomp.tuning.stage_file import read_stage, write_stage
from edgecomp.tuning.tunable import TunableModel
from edgecomp.tuning.tuner import TuningError
from runtime_ops.formats import ColumnsFormat, EncodedTensor, Table, TrellisFormat
from runtime_ops.formats.columns import CRITICAL_PREFIX
from runtime_ops.formats.encoded import matrices

__all__ = [
    "TrellisModel",
    "encoded_tensors",
    "load_model",
    "model_of",
    "rounded_code",
    "save_model",
]

TrellisModel = TunableModel[TrellisTensor]
Part = tuple[TrellisFormat, dict[str, NDArray[np.generic]]]


def model_of(first: Mapping[str, EncodedTensor], device: torch.device) -> TrellisModel:
    """The model of tensors of one trellis each, or of two (critical columns), on the device.

    Tensors of a kind with the same trellises share their tables. What is in other formats, as tiny
    tensors are, is left out.
    """
    model = TrellisModel()
    groups: dict[tuple[str, tuple[TrellisFormat, ...]], str] = {}
    for name, tensor in first.items():
        parts = trellis_parts(tensor)
        if not parts:
            continue
        trellises = tuple(replace(fmt, rotation=0, seed=0) for fmt, _ in parts)
        kind = kind_of(name)
        group = groups.setdefault((kind, trellises), f"{kind} {len(groups)}")
        if group not in model.codebooks:
            model.codebooks[group] = [table_of(fmt).to(device) for fmt, _ in parts]
        model.tensors[name] = trellis_tensor(name, group, tensor, parts, device)
    return model


def trellis_parts(tensor: EncodedTensor) -> list[Part]:
    """Formats and parts of a tensor's spans, none where one of them is no trellis."""
    found = matrices(tensor)
    parts = [(fmt, arrays) for fmt, arrays in found if isinstance(fmt, TrellisFormat)]
    return parts if len(parts) == len(found) else []


def trellis_tensor(
    name: str, group: str, tensor: EncodedTensor, parts: list[Part], device: torch.device
) -> TrellisTensor:
    """A tensor as it is tuned."""
    rows, columns = tensor.shape
    order = None
    widths = [columns]
    if isinstance(tensor.format, ColumnsFormat):
        order = tensor.format.order
        widths = [columns - tensor.format.n_critical]
        if tensor.format.n_critical:
            widths.insert(0, tensor.format.n_critical)
    spans, scales = [], []
    first = 0
    for i, ((fmt, arrays), width) in enumerate(zip(parts, widths, strict=True)):
        codes = arrays["codes"].astype(np.uint8)  # a copy: files may be mapped
        spans.append(coded_span(fmt, (first, width, i), codes, rows).to(device))
        factor = float(arrays["params"][0]) / unit_of(fmt)
        scales.append(arrays["scales"].astype(np.float64) * factor)
        first += width
    held = torch.from_numpy(np.concatenate(scales).astype(np.float32)).to(device)
    kept = None if order is None else torch.from_numpy(order).to(device)
    return TrellisTensor(name, group, kept, held, spans)


def unit_of(fmt: TrellisFormat) -> float:
    """What a table's integer counts beside the standard deviation of the weights.

    As a fitted table's mean square is that of the trellis that it was fitted from.
    """
    own = root_mean_square(fmt.table.array)
    code = known_codes().get((fmt.state_bits, fmt.step_bits, fmt.dim))
    known = 1.0 if code is None else code.unit * root_mean_square(np.array(code.table))
    return known / own if own > 0 else 1.0


def root_mean_square(values: NDArray[np.generic]) -> float:
    """The root of the mean square."""
    return float(np.sqrt(np.mean(values.astype(np.float64) ** 2)))


def table_of(fmt: TrellisFormat) -> Tensor:
    """The table beside the standard deviation of the weights, float32 (entries,)."""
    values = fmt.table.array.astype(np.float64) * unit_of(fmt)
    return torch.from_numpy(values.astype(np.float32))


def rounded_code(fmt: TrellisFormat, table: Tensor) -> TrellisCode:
    """The trellis of a format with another table, rounded to the integers that a file holds."""
    values = table.detach().cpu().double().numpy()
    if not np.abs(values).max() > 0:
        values = np.ones_like(values)
    code = TrellisCode(
        fmt.state_bits,
        fmt.step_bits,
        fmt.multipliers,
        fmt.fold,
        tuple(fmt.table.array.tolist()),
        1.0,
    )
    return code.with_table(values)


def encoded_tensors(model: TrellisModel) -> Iterator[tuple[str, EncodedTensor]]:
    """Every tensor as a container has it, by name, without its error bound.

    TuningError for scales that no container holds.
    """
    codes = {
        tensor.group: [
            rounded_code(span.format, model.codebooks[tensor.group][span.book])
            for span in tensor.spans
        ]
        for tensor in model.tensors.values()
    }
    for name, tensor in model.tensors.items():
        try:
            yield name, encoded_tensor(tensor, codes[tensor.group])
        except WeightError as error:
            raise TuningError(f"tensor {name}: {error}") from error


def encoded_tensor(tensor: TrellisTensor, codes: list[TrellisCode]) -> EncodedTensor:
    """A tensor with the rounded tables of its group."""
    parts: list[dict[str, NDArray[np.generic]]] = []
    formats = []
    scales = tensor.scales.cpu().double().numpy().reshape(len(tensor.spans), -1)
    for span, own in zip(tensor.spans, scales, strict=True):
        code = codes[span.book]
        half, factor = stored_row_scales(own * code.unit, 1.0)
        params = np.array([factor], np.float32)
        parts.append({"codes": span.codes.cpu().numpy(), "scales": half, "params": params})
        table = Table.of(np.array(code.table, span.format.table.dtype))
        formats.append(replace(span.format, table=table))
    if tensor.order is None:
        return EncodedTensor(formats[0], tensor.shape, parts[0])
    order = Table.of(tensor.order.cpu().numpy().astype(np.uint16))
    if len(formats) == 1:
        return EncodedTensor(ColumnsFormat(formats[0], permutation=order), tensor.shape, parts[0])
    fmt = ColumnsFormat(formats[1], formats[0], tensor.spans[0].width, order)
    critical = {CRITICAL_PREFIX + name: part for name, part in parts[0].items()}
    return EncodedTensor(fmt, tensor.shape, critical | parts[1])


def save_model(model: TrellisModel, path: Path) -> None:
    """Writes the model to a safetensors file, in one step; the same model gives the same bytes."""
    arrays: dict[str, Tensor] = {}
    for i, tensor in enumerate(model.tensors.values()):
        arrays[f"scales {i}"] = tensor.scales
        arrays |= {f"codes {i} {k}": span.codes for k, span in enumerate(tensor.spans)}
    for i, tables in enumerate(model.codebooks.values()):
        arrays |= {f"table {i} {k}": table for k, table in enumerate(tables)}
    arrays |= {f"vector {i}": vector for i, vector in enumerate(model.vectors.values())}
    counts = [[group, len(tables)] for group, tables in model.codebooks.items()]
    index = json.dumps([list(model.tensors), counts, list(model.vectors)])
    write_stage(arrays, {"index": index}, path)


def load_model(start: TrellisModel, path: Path, device: torch.device) -> TrellisModel:
    """The model in a file of `save_model`; what tuning does not change is that of `start`."""
    stage = read_stage(path, device)
    names, groups, vectors = json.loads(stage.meta["index"])
    held = stage.tensors
    model = TrellisModel()
    for i, name in enumerate(names):
        begun = start.tensors[name]
        spans = [replace(span) for span in begun.spans]
        tensor = replace(begun, scales=held[f"scales {i}"], spans=spans)
        for k in range(len(spans)):
            tensor.set_codes(k, held[f"codes {i} {k}"].cpu().numpy())
        model.tensors[name] = tensor
    for i, (group, n) in enumerate(groups):
        model.codebooks[group] = [held[f"table {i} {k}"] for k in range(n)]
    for i, name in enumerate(vectors):
        model.vectors[name] = held[f"vector {i}"]
    return model
