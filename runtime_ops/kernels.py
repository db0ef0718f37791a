"""The table of kernels, from csrc/kernels/kernels.inc: what exists for which instruction set.

`python -m runtime_ops.kernels` prints it as docs/kernels.md holds it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Kernel", "kernel_table", "markdown", "trellis_loops"]

ROW = re.compile(r"^EC_KERNEL\((\w+), (\w+)\)$", flags=re.M)
CASE = re.compile(r"^ +CASE\((\w+), \w+, \w+\)", flags=re.M)

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

# Loops of gemv_i8_tr for aarch64 (csrc/kernels/trellis_i8_cases.h): what they read, and how many
# instructions with vector registers they have per 16 weights, without and with dot products.
COUNTED_WITH = 12  # of GCC, the major version
LOOPS = {
    "k1_l8_t256": ("k 1, L 8, 256", 15.0, 12.2),
    "k2_l8_t64": ("k 2, L 8, no fold, 64", 9.3, 6.8),
    "k2_l8_t256": ("k 2, L 8, 256", 14.8, 11.3),
    "k4_l8_t64": ("k 4, L 8, no fold, 64", 9.2, 6.9),
    "k4_l8_t256": ("k 4, L 8, 256", 15.0, 11.5),
    "k1_l12_t64": ("k 1, L 10 and 12, 64", 19.5, 17.0),
    "k1_l12_t256": ("k 1, L 10 and 12, 256", 27.8, 23.3),
    "k2_l12_t64": ("k 2, L 10 and 12, 64", 18.4, 15.8),
    "k2_l12_t256": ("k 2, L 10 and 12, 256", 26.7, 23.2),
    "k4_l12_t64": ("k 4, L 10 and 12, no fold, 64", 11.3, 8.7),
    "k4_l12_t256": ("k 4, L 10 and 12, no fold, 256", 17.8, 14.3),
    "k4_l12_fold_t64": ("k 4, L 10 and 12, 64", 17.2, 14.9),
    "k4_l12_fold_t256": ("k 4, L 10 and 12, 256", 23.7, 20.3),
    "any_l8_t64": ("L 8, no fold, 64", 15.2, 11.9),
    "any_l8_t256": ("L 8, two weights a step, no fold, 256", 22.2, 18.9),
    "any_l8_by_state": ("L 8, one weight a step, 256", 21.5, 17.9),
    "pairs_t64": ("two weights a step, L above 8, no fold, 64", 19.0, 15.0),
    "pairs_t256": ("two weights a step, L above 8, no fold, 256", 24.6, 21.8),
    "k3_l12_t64": ("k 3, L 10 and 12, 64", 24.1, 20.9),
    "k3_l12_t256": ("k 3, L 10 and 12, 256", 32.1, 28.5),
    "any_t64": ("all others, 64", 27.1, 23.8),
    "any_t256": ("all others, 256", 36.0, 31.8),
    "any_large": ("all others, 4,096", 57.0, 53.8),
}
LOOPS_HEAD = """
## Instructions per 16 weights

`ec_gemv_i8_tr_neon` and `ec_gemv_i8_tr_neon_dotprod` have a loop for each kind of trellis: k bits a
step, L state bits, a table of so many int8 entries at most. These are the instructions with vector
registers in it, loads and the scaling of sums included, as GCC 12 compiles it with -O3;
tests/runtime_ops/test_instruction_counts.py counts them in the disassembly.

| trellises | loop | neon | neon_dotprod |
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


def trellis_loops() -> tuple[str, ...]:
    """Names of the cases that gemv_i8_tr for aarch64 compiles apart."""
    text = (Path(__file__).parent / "csrc" / "kernels" / "trellis_i8_cases.h").read_text()
    return tuple(CASE.findall(text))


def markdown() -> str:
    """docs/kernels.md."""
    lines = [HEAD]
    for kernel in kernel_table():
        specification, what = OPERATIONS[kernel.operation]
        where = INSTRUCTION_SETS[kernel.instruction_set]
        lines.append(f"| `{kernel.function}` | {what} | `reference.{specification}` | {where} |")
    lines.append(LOOPS_HEAD)
    for name, (what, plain, dotprod) in LOOPS.items():
        lines.append(f"| {what} | `{name}` | {plain:.1f} | {dotprod:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
