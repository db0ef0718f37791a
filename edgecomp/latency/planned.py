"""The formats that a model's tensors would get by settings, from their names and shapes alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgecomp.checkpoint.folder import is_embedding, is_head
from edgecomp.compression.tensor_settings import integers_of, rate_of
from edgecomp.encode import (
    CrvqSettings,
    LatticeSettings,
    PaperSettings,
    Settings,
    TrellisSettings,
    UniformSettings,
)
from edgecomp.encode.critical import count_critical
from edgecomp.encode.lattice_preset import format_for
from edgecomp.encode.paper_preset import paper_format
from edgecomp.encode.trellis.codes import chosen_code
from edgecomp.encode.trellis.matrix import rotation_of
from runtime_ops.formats import ColumnsFormat, CrvqFormat, Format, RawFormat, Table, UniformFormat
from runtime_ops.formats.columns import PlainFormat
from runtime_ops.formats.part import matrix_sides

__all__ = ["planned_format"]


def planned_format(name: str, shape: tuple[int, ...], settings: Settings) -> Format:
    """The format of a tensor by the settings of its model.

    What only the weights decide is taken as it mostly is: matrices have a scale, critical columns
    are anywhere, `paper` tensors take the first number of points and all classes, and with
    `measured` allocation of crvq every codebook covers the share `critical`.
    """
    if len(shape) < 2:
        return RawFormat("f32")
    match settings:
        case TrellisSettings():
            return trellis_format(name, shape, settings)
        case UniformSettings():
            return UniformFormat(int(settings.bits), settings.group)
        case LatticeSettings():
            return lattice_columns(name, shape, settings)
        case PaperSettings():
            return paper_format(settings.points[0], settings.classes)
        case CrvqSettings():
            return crvq_format(name, shape, settings)


def trellis_format(name: str, shape: tuple[int, ...], settings: TrellisSettings) -> Format:
    """A trellis, with critical columns as another one beside it; embeddings have their own rate."""
    integers = integers_of(name, settings)
    if integers is not None:
        return UniformFormat(int(integers.bits), integers.group)
    own, columns = rate_of(name, settings), matrix_sides(shape)[1]
    n_critical = 0 if is_embedding(name) else count_critical(shape, own.critical)
    rest = columns - n_critical
    fmt = chosen_code(own).format(rotation_of(rest) if own.rotate else 0, own.seed)
    fine = chosen_code(replace(own, bits=own.critical_bits)).format(0, own.seed)
    return with_critical(fmt, fine, n_critical, columns)


def lattice_columns(name: str, shape: tuple[int, ...], settings: LatticeSettings) -> Format:
    """A winding, with critical columns as another one beside it."""
    columns = matrix_sides(shape)[1]
    n_critical = 0 if is_embedding(name) else count_critical(shape, settings.critical)
    if n_critical == 0:
        return format_for(settings, columns)
    rest = format_for(settings, columns - n_critical)
    fine = format_for(settings.critical_part, n_critical)
    return with_critical(rest, fine, n_critical, columns)


def crvq_format(name: str, shape: tuple[int, ...], settings: CrvqSettings) -> Format:
    """Codebooks, the critical ones for as many groups as the share says; a winding for the rest."""
    columns = matrix_sides(shape)[1]
    if len(shape) != 2 or is_embedding(name) or is_head(name):
        return format_for(settings.outer, columns)
    groups = round(settings.critical * columns / settings.dim)
    scalars = settings.critical_codes == "scalar"
    stages = 1 if scalars or groups == 0 else 1 + settings.extended
    n_entries = stages * settings.dim << settings.codebook_bits
    wide = settings.codebook_dtype == "int16"
    books = Table.of(np.zeros(n_entries, "<i2" if wide else "i1"))
    fmt = CrvqFormat(
        settings.dim, settings.codebook_bits, (groups,) * (stages - 1), (0,) * stages, books
    )
    return ColumnsFormat(fmt, permutation=any_order(columns))


def with_critical(rest: PlainFormat, fine: PlainFormat, n_critical: int, columns: int) -> Format:
    """Both formats as one, or the rest alone where there are no critical columns."""
    if n_critical == 0:
        return rest
    return ColumnsFormat(rest, fine, n_critical, any_order(columns))


def any_order(columns: int) -> Table:
    """A permutation of the right size."""
    return Table.of(np.arange(columns, dtype=np.uint16))
