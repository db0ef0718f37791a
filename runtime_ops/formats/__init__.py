"""The formats a tensor can be stored in, and the tensor in that form.

A *format* is a codec with its parameters; many tensors of a file share one. An `EncodedTensor` is a
format, a shape and the *parts*: flat arrays of bytes or floats whose sizes follow from the two, so
that a reader can check every size before it touches the data.
"""

from runtime_ops.formats.columns import ColumnsFormat, PlainFormat
from runtime_ops.formats.crvq import CrvqFormat
from runtime_ops.formats.encoded import EncodedTensor, Format, matrices
from runtime_ops.formats.part import FormatError, PartSpec, Table, checked_weights, matrix_sides
from runtime_ops.formats.raw import RawFormat
from runtime_ops.formats.trellis import TrellisFormat
from runtime_ops.formats.uniform import UniformFormat
from runtime_ops.formats.winding import WindingFormat

__all__ = [
    "ColumnsFormat", "CrvqFormat", "EncodedTensor", "Format", "FormatError", "PartSpec",
    "PlainFormat", "RawFormat", "Table", "TrellisFormat", "UniformFormat", "WindingFormat",
    "checked_weights", "matrices", "matrix_sides",
]  # fmt: skip
