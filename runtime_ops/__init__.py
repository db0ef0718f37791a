"""What runs on a device: formats, their numpy specification, and the C runtime.

`runtime_ops.native` is imported on use: formats and reference work where nothing is compiled.
"""

from runtime_ops.formats import (
    ColumnsFormat,
    CrvqFormat,
    EncodedTensor,
    Format,
    FormatError,
    RawFormat,
    TrellisFormat,
    WindingFormat,
)

__all__ = [
    "ColumnsFormat",
    "CrvqFormat",
    "EncodedTensor",
    "Format",
    "FormatError",
    "RawFormat",
    "TrellisFormat",
    "WindingFormat",
]
