"""The table of kernels, from csrc/kernels/kernels.inc: what exists for which instruction set.

`python -m runtime_ops.kernels` prints it as docs/kernels.md holds it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Kernel", "kernel_table", "markdown"]

ROW = re.compile(r"^EC_KERNEL\((\w+), (\w+)\)$", flags=re.M)

INSTRUCTION_SETS = {
    "scalar": "every machine, C99",
    "avx2": "x86-64 with AVX2",
    "avx512": "x86-64 with AVX-512 F, BW, VL, VBMI and VNNI",
    "neon": "aarch64",
    "neon_dotprod": "aarch64 with dotprod",
    "neon_i8mm": "aarch64 with dotprod and i8mm",
    "neon_armv7": "ARMv7 with NEON",
}
# Operation: the function of runtime_ops.reference that specifies it, and what it returns.
OPERATIONS = {
    "decode_f32_wd": ("decode_f32_wd", "weights (float32) of winding indices"),
    "decode_f32_cb": ("decode_f32_cb", "weights (float32) of codes of codebooks"),
    "table_f32_cb": ("table_f32_cb", "products of all codewords with eight activations (float32)"),
    "lookup_f32_cb": ("gemv_f32_crvq_table", "sums of entries of such tables (float32)"),
    "decode_f32_tr": ("decode_f32_tr", "weights (float32) of tiles of a trellis"),
    "hadamard_f32": ("hadamard", "products with a Hadamard matrix (float32)"),
    "dots_f32_f32": ("gemv_f32", "eight partial sums of each product (float32 by float32)"),
    "table_i32_cb": ("matmul_i8", "products of all codewords with eight activations (int8)"),
    "lookup_i32_cb": ("matmul_i8", "sums of entries of such tables (int32), scaled"),
    "quantise_i8": ("quantise", "activations as int8 with a scale for each block"),
    "decode_i8_tr": ("integer_matrix", "table entries (int8) of tiles of a trellis"),
    "gemv_i8_tr": ("matmul_i8", "products of a trellis with one token's int8 activations"),
    "dots_i8": ("matmul_i8", "products of a panel of int8 weights with int8 activations"),
    "dots_i16": ("matmul_i8", "products of a panel of int16 weights with int8 activations"),
}


HEAD = """# Kernels

Made from runtime_ops/csrc/kernels/kernels.inc by `python -m runtime_ops.kernels`; a test compares.
The fastest set that the machine has is chosen at run time. Every kernel returns the bytes of its
specification: tests/runtime_ops/test_kernels.py compares them on this machine, with sanitizers, and
under qemu for aarch64 and ARMv7.

| function | returns | specified by | runs on |
|---|---|---|---|"""


@dataclass(frozen=True)
class Kernel:
    """One C function: `ec_<operation>_<instruction set>`."""

    operation: str
    instruction_set: str

    @property
    def function(self) -> str:
        """The C function's name."""
        return f"ec_{self.operation}_{self.instruction_set}"


def kernel_table() -> tuple[Kernel, ...]:
    """All kernels, in the order of kernels.inc."""
    text = (Path(__file__).parent / "csrc" / "kernels" / "kernels.inc").read_text()
    return tuple(Kernel(*row) for row in ROW.findall(text))


def markdown() -> str:
    """docs/kernels.md."""
    lines = [HEAD]
    for kernel in kernel_table():
        specification, what = OPERATIONS[kernel.operation]
        where = INSTRUCTION_SETS[kernel.instruction_set]
        lines.append(f"| `{kernel.function}` | {what} | `reference.{specification}` | {where} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
