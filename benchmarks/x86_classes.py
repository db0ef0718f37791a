"""The classes of x86-64 instructions with AVX2, in Intel's notation."""

from __future__ import annotations

import re

__all__ = ["without_prefix", "x86_classes"]

# Vector arithmetic by how its names go on behind the `v` of AVX, the first that fits.
X86_VECTOR = (
    ("v_gather", r"p?gather"),
    ("v_mul32", r"pmulld$"),
    ("v_mul", r"pmul|pmadd|pdpbusd|psadbw"),
    ("v_shift_by", r"ps(ll|rl|ra)v"),
    ("v_shift", r"ps(ll|rl|ra)[dqw]$"),
    ("v_cross", r"perm2|perm(d|ps|q|pd)$|(extract|insert)[fi]128|pmov[sz]x|p?broadcast"),
    ("v_permute", r"pshuf|punpck|pack|palign|shufp|unpck|permilp|pblendw|movs[hl]dup|movhl|movlh"),
    ("v_permute", r"movddup|pslldq|psrldq|insertps|movss|movsd"),
    ("v_blend", r"p?blendv"),
    ("v_to_gpr", r"pmovmskb|movmsk|pextr|extractps|ptest"),
    ("v_from_gpr", r"pinsr"),
    ("v_hadd", r"ph(add|sub)|hadd|hsub"),
    ("v_fcmp", r"u?comis"),
    ("v_cvt", r"cvt|round"),
    ("v_fma", r"fn?m(add|sub)"),
    ("v_fmul", r"mul[ps][sd]$"),
    ("v_fdiv", r"(div|sqrt)[ps][sd]$"),
    ("v_fadd", r"(add|sub|max|min|cmp\w*|addsub)[ps][sd]$"),
)
X86_VECTOR_NAMES = tuple((name, re.compile(f"v?(?:{pattern})")) for name, pattern in X86_VECTOR)
X86_MOVE = re.compile(r"v?(mov(dq[au]|[au]p[sd]|q|d|ss|sd)|lddqu|movntdqa?)$")
INTEGER = (
    ("nop", r"nop|endbr|xchg|$"),
    ("mul", r"i?mul|mulx"),
    ("div", r"i?div"),
    ("alu_shift", r"(sh[lr]d?x?|sa[lr]x?|ro[lr]x?|bts|btr|pdep|pext|bextr)$"),
)
INTEGER_NAMES = tuple((name, re.compile(f"(?:{pattern})")) for name, pattern in INTEGER)
STACK = {"call": ("branch", "mem_store"), "ret": ("branch", "mem_load"), "push": ("store",)}
STACK["pop"] = ("load",)
PREFIXES = ("rep", "repz", "repnz", "lock", "notrack", "bnd", "data16", "cs", "ds")
NUMBER = re.compile(r",(0x|-?\d)")
GENERAL = re.compile(r"\b[re]?[abcds][xip]l?\b|\br\d+d?\b")


def without_prefix(name: str, operands: str) -> tuple[str, str]:
    """The instruction behind `rep`, `lock` and others that are printed before it."""
    while name in PREFIXES:
        name, _, operands = operands.partition(" ")
    return name, operands.strip()


def x86_classes(name: str, operands: str) -> tuple[str, ...]:
    """The class of an instruction, and of what comes along with it."""
    stores = "PTR [" in operands.partition(",")[0]
    loads = "PTR [" in operands and not stores
    if "mm" in operands or name.startswith("vzero"):
        return x86_vector(name, operands, loads, stores)
    if name in STACK:
        return STACK[name]
    if name.startswith("mov"):
        moved = "store" if stores else "load" if loads else "alu"
        plain = name in ("mov", "movsxd") and moved == "alu" and not NUMBER.search(operands)
        return ("move" if plain else moved,)
    if name.startswith("j"):
        return ("branch",)
    kind = next((kind for kind, pattern in INTEGER_NAMES if pattern.match(name)), "alu")
    reads = (loads or stores) and name != "lea" and kind != "nop"
    writes = stores and reads and name not in ("cmp", "test", "bt")
    return (kind, *(("mem_load",) if reads else ()), *(("mem_store",) if writes else ()))


def x86_vector(name: str, operands: str, loads: bool, stores: bool) -> tuple[str, ...]:
    """Of instructions with xmm and ymm registers."""
    half = "" if "ymm" in operands else "_d"
    if moved := x86_move(name, operands, loads, stores):
        return (moved,)
    kind = next((kind for kind, pattern in X86_VECTOR_NAMES if pattern.match(name)), "v_alu")
    if kind == "v_gather":  # whose loads are its own
        return (kind + half,)
    if kind == "v_cross" and half and "pmov" in name:
        kind = "v_permute"
    extra = ("mem_store",) if stores else ("mem_load",) if loads else ()
    return (kind + half, *extra)


def x86_move(name: str, operands: str, loads: bool, stores: bool) -> str | None:
    """The class of a whole register's move, or None for all else."""
    if name.startswith("vzero"):
        return "nop"
    if loads and re.match(r"v?p?broadcast", name):
        return "v_load"
    if not X86_MOVE.match(name):
        return None
    if loads or stores:
        return "v_store" if stores else "v_load"
    if general := GENERAL.search(operands):
        return "v_to_gpr" if general.start() == 0 else "v_from_gpr"
    return None if name in ("vmovss", "vmovsd") else "move"
