"""The classes of aarch64 instructions, as GNU's objdump writes them."""

from __future__ import annotations

import re

__all__ = ["arm_classes"]

WIDE = re.compile(r"\bv\d+\.(16b|8h|4s|2d|1q)|\bq\d+\b")
NARROW = re.compile(r"\bv\d+\.(8b|4h|2s|1d|2h)|\b[bhsd]\d+\b")
LANE = re.compile(r"\bv\d+\.\w+\[\d+\]")
GENERAL = re.compile(r"\b[wx](\d+|zr)\b")
TABLE = re.compile(r"\{v(\d+)\.\w+(?:-v(\d+)\.\w+|((?:, v\d+\.\w+)*))\}")
SHIFTED = re.compile(r", (?:lsr|asr|ror|lsl #(?:[5-9]|\d\d)|[su]xt[bhwx])")

# The names (or how they start) of vector arithmetic, the first that fits.
VECTOR = (
    ("v_dot", r"[su]{1,2}dot$"),
    ("v_mmla", r"[su]{1,2}mmla$"),
    ("v_mlal", r"[su]ml[as]l2?$|sqdml[as]l2?$"),
    ("v_mull", r"[su]mull2?$|sqdmull2?$|pmull2?$"),
    ("v_mul", r"mul$|ml[as]$|sqr?dml?[as]?u?l?h$|pmul$"),
    ("v_acc", r"[su]r?sra$|[su]adalp$|[su]abal?2?$"),
    ("v_reduce", r"addv$|[su]addlv$|[su](max|min)v$|f(max|min)(nm)?v$"),
    ("v_shift_by", r"[su]q?r?shl$(?!, #)"),
    ("v_shift", r"s[lr]i$|(sq|uq)?r?shrn2?$|sqr?shrun2?$|[su]r?shr$|shll?2?$|[su]shll2?$"),
    ("v_shift", r"[su]xtl2?$|sqxtu?n2?$|uqxtn2?$"),
    ("v_permute", r"zip[12]$|uzp[12]$|trn[12]$|ext$|rev(16|32|64)$|dup$|ins$|mov$"),
    ("v_fma", r"fn?m(add|sub)$|fml[as]$|f(recps|rsqrts)$"),
    ("v_fmul", r"fn?mulx?$"),
    ("v_fdiv", r"fdiv$|fsqrt$"),
    ("v_cvt", r"[su]cvtf$|fcvt\w*$|frint\w$|frecpe$|frsqrte$"),
    ("v_fcmp", r"fcc?mpe?$"),
    ("v_fadd", r"f(add|sub|abd|neg|abs|max|min|addp|cm|ac)\w*$"),
)
VECTOR_NAMES = tuple((name, re.compile(f"(?:{pattern})")) for name, pattern in VECTOR)
# And of integers.
INTEGER = (
    ("nop", r"nop$|hint$|bti$|(pac|aut)iasp$"),
    ("mul", r"m(add|sub|neg|ul)$|[su]m(ull|ulh|addl|subl|negl)$"),
    ("div", r"[su]div$"),
    ("alu_shift", r"bfi$|bfxil$|bfm$"),
)
INTEGER_NAMES = tuple((name, re.compile(f"(?:{pattern})")) for name, pattern in INTEGER)
MEMORY = re.compile(r"(ld|st)(u?r|n?p|x?r|u?x?r|[1-4]|a|l)|prf")
STEPPED = re.compile(r"\[(x\d+|sp)[^\]]*\](!|, )")
BRANCH = re.compile(r"(b(\.\w+)?|bl|br|blr|ret|cbn?z|tbn?z)$")
ADDS = re.compile(r"(adds?|subs?|cm[pn]|negs?)$")


def arm_classes(name: str, operands: str) -> tuple[str, ...]:
    """The class of an instruction, and of what comes along with it."""
    if MEMORY.match(name):
        stepped = ("writeback",) if STEPPED.search(operands) else ()
        return (arm_memory(name, operands), *stepped)
    if BRANCH.match(name):
        return ("branch",)
    if WIDE.search(operands) or NARROW.search(operands) or LANE.search(operands):
        return (arm_vector(name, operands),)
    if ADDS.match(name) and SHIFTED.search(operands):
        return ("alu_shift",)
    return (next((kind for kind, pattern in INTEGER_NAMES if pattern.match(name)), "alu"),)


def arm_memory(name: str, operands: str) -> str:
    """Of a load or a store."""
    kind = "store" if name.startswith("st") else "load"
    if structure := re.match(r"(?:ld|st)([1-4])", name):
        if LANE.search(operands) or "}[" in operands or name.endswith("r"):
            return f"v_{kind}_lane"
        if structure[1] != "1":
            return f"v_{kind}_zip"
        count = table_registers(operands)
        return (
            f"v_{kind}{narrow(operands)}" if count == 1 else f"v_{kind}_{count}{narrow(operands)}"
        )
    first = operands.partition(",")[0]
    pair = "_pair" if re.match(r"(ld|st)n?p", name) else ""
    if not re.match(r"[bhsdq]\d", first):
        return f"{kind}{pair}"
    return f"v_{kind}{pair}{'' if first.startswith('q') else '_d'}"


def arm_vector(name: str, operands: str) -> str:
    """Of arithmetic with vector registers."""
    general = GENERAL.search(operands) is not None
    if name in ("tbl", "tbx"):
        return f"v_{name}{table_registers(operands)}{narrow(operands)}"
    if general and name in ("mov", "dup", "ins", "fmov", "umov", "smov"):
        return "v_to_gpr" if GENERAL.match(operands) else "v_from_gpr"
    if name in ("shl", "sshr", "ushr", "sqshl", "uqshl", "sqshlu") and "#" in operands:
        return f"v_shift{narrow(operands)}"
    whole = name == "mov" and not LANE.search(operands)  # orr of a register with itself
    for kind, pattern in () if whole else VECTOR_NAMES:
        if pattern.match(name):
            return "v_cvt_gpr" if kind == "v_cvt" and general else kind + narrow(operands)
    return f"v_alu{narrow(operands)}"


def narrow(operands: str) -> str:
    """`_d` without any register of 128 bits."""
    return "" if WIDE.search(operands) else "_d"


def table_registers(operands: str) -> int:
    """Registers in the braces."""
    found = TABLE.search(operands)
    if found is None:
        return 1
    if found[2]:
        return (int(found[2]) - int(found[1])) % 32 + 1
    return 1 + found[3].count("v")
