"""Decoding in numpy: the specification of every format, in as few steps as it takes.

The C kernels return the same bytes. Integers are uint32 and wrap; floats are float32 with one
rounding per operation, never fused; sums run in a stated order.
"""

from runtime_ops.reference.crvq import (
    crvq_codes,
    crvq_sums,
    decode_f32_cb,
    gemv_f32_crvq_table,
    row_scales,
    table_f32_cb,
)
from runtime_ops.reference.integers import (
    BLOCK,
    IntegerMatrix,
    integer_matrix,
    is_integer,
    matmul_blocks,
    matmul_i8,
    quantise,
)
from runtime_ops.reference.products import gemm, gemv, gemv_f32, prepare
from runtime_ops.reference.trellis import (
    decode_f32_tr,
    hadamard,
    rotate,
    signs,
    trellis_places,
    trellis_states,
    unrotate,
)
from runtime_ops.reference.uniform import decode_f32_un, uniform_scales, uniform_values
from runtime_ops.reference.weights import decode, decode_matrix, stored_matrix
from runtime_ops.reference.winding import GROUP_FACTORS, decode_f32_wd, integers_wd, unpack_indices

__all__ = [
    "BLOCK", "GROUP_FACTORS", "IntegerMatrix", "crvq_codes", "crvq_sums", "decode", "decode_f32_cb",
    "decode_f32_tr", "decode_f32_un", "decode_f32_wd", "decode_matrix", "gemm", "gemv", "gemv_f32",
    "gemv_f32_crvq_table", "hadamard", "integer_matrix", "integers_wd", "is_integer",
    "matmul_blocks", "matmul_i8", "prepare", "quantise", "rotate", "row_scales", "signs",
    "stored_matrix", "table_f32_cb", "trellis_places", "trellis_states", "uniform_scales",
    "uniform_values", "unpack_indices", "unrotate",
]  # fmt: skip
