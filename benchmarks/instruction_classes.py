"""The class of an instruction: what of it decides how many of them a core executes in a cycle.

Classes have the same names for aarch64 and x86-64, see CLASSES. With `_d` behind it a class is of
64 bits of a vector register or of one number in it; benchmarks/data/cores.toml may give it pipes
of its own. EXTRA classes are work that comes along with an instruction, without a place in issue.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from arm_classes import arm_classes
from x86_classes import without_prefix, x86_classes

__all__ = ["CLASSES", "EXTRA", "Listed", "listing"]

CLASSES = {
    "alu": "integer add, logic, compare, move, shift",
    "alu_shift": "integer add with a shifted operand, insertion of bits",
    "mul": "integer multiplication",
    "div": "integer division",
    "branch": "branches and calls",
    "move": "register moves that renaming takes care of (x86-64)",
    "nop": "nothing",
    "load": "load of an integer register",
    "load_pair": "load of two",
    "store": "store of an integer register",
    "store_pair": "store of two",
    "v_alu": "vector add, logic, compare, least and greatest",
    "v_mul": "vector multiplication, also with addition",
    "v_mul32": "vector multiplication of 32 bits (x86-64)",
    "v_mull": "multiplication to twice the width",
    "v_mlal": "multiplication to twice the width, with addition",
    "v_dot": "dot products of four int8",
    "v_mmla": "products of 2 x 8 with 8 x 2 int8",
    "v_shift": "vector shifts by a number for all, also with widening and narrowing",
    "v_shift_by": "vector shifts by a register",
    "v_acc": "accumulation of pairs or of shifted numbers",
    "v_reduce": "sums and extremes across a register",
    "v_tbl1": "table lookup in one register",
    "v_tbl2": "in two",
    "v_tbl3": "in three",
    "v_tbl4": "in four",
    "v_tbx1": "table lookup in one register that leaves what is outside",
    "v_tbx2": "in two",
    "v_tbx3": "in three",
    "v_tbx4": "in four",
    "v_permute": "shuffles (x86-64: within 128 bits)",
    "v_cross": "shuffles across 128 bits, extension to 256 (x86-64)",
    "v_blend": "choice by a mask in a register (x86-64)",
    "v_from_gpr": "from an integer register",
    "v_to_gpr": "to an integer register",
    "v_fadd": "float additions and comparisons",
    "v_fmul": "float multiplications",
    "v_fma": "float multiplications with addition",
    "v_fdiv": "float divisions and roots",
    "v_cvt": "conversions, rounding",
    "v_cvt_gpr": "conversions from or to an integer register",
    "v_fcmp": "float comparisons that set flags",
    "v_hadd": "horizontal additions (x86-64)",
    "v_gather": "gathers of eight numbers (x86-64)",
    "v_load": "load of a vector register (`_d`: of 64 bits or less)",
    "v_load_pair": "load of two",
    "v_load_2": "ld1 of two registers",
    "v_load_3": "ld1 of three",
    "v_load_4": "ld1 of four",
    "v_load_lane": "load to one lane or to all",
    "v_load_zip": "ld2, ld3, ld4",
    "v_store": "store of a vector register",
    "v_store_pair": "store of two",
    "v_store_2": "st1 of two registers",
    "v_store_3": "st1 of three",
    "v_store_4": "st1 of four",
    "v_store_lane": "store of one lane",
    "v_store_zip": "st2, st3, st4",
}
EXTRA = {
    "writeback": "the address of a load or store that is stepped on (aarch64)",
    "mem_load": "an operand that is loaded (x86-64)",
    "mem_store": "a result that is stored (x86-64)",
}

FUNCTION = re.compile(r"^[0-9a-f]+ <([^>]+)>:$")
ROW = re.compile(r"^ +([0-9a-f]+):\t(\S+)\s*(.*)$")
FUSES = re.compile(r"(cmp|test)$")


@dataclass(frozen=True)
class Listed:
    """One instruction of a disassembly."""

    address: int
    function: str
    classes: tuple[str, ...]  # its own, then what comes along


def listing(disassembly: str, machine: str) -> Iterator[Listed]:
    """Every instruction of `objdump -d --no-show-raw-insn` (`-M intel` for x86-64), in order.

    A comparison and the conditional jump behind it are one operation of x86-64: the jump's.
    """
    function, pending = "", None
    for line in disassembly.splitlines():
        if start := FUNCTION.match(line):
            function = start[1]
        elif row := ROW.match(line):
            address, name, operands = int(row[1], 16), row[2], row[3].partition("//")[0].strip()
            if machine == "x86_64":
                name, operands = without_prefix(name, operands)
                classes = x86_classes(name, operands)
            else:
                classes = arm_classes(name, operands)
            if pending is not None:
                yield Listed(pending.address, pending.function, ()) if name[0] == "j" else pending
            listed, pending = Listed(address, function, classes), None
            if machine == "x86_64" and FUSES.match(name) and "mem_load" not in classes:
                pending = listed
            else:
                yield listed
    if pending is not None:
        yield pending
