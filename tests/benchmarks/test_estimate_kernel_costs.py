"""What kernels are estimated to cost: classes, counting, pressure on pipes, profiles."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from pathlib import Path

import estimate_kernel_costs
import pytest
from arm_classes import arm_classes
from core_model import Core, CoreError, bound, cycles, parse, read_cores
from estimate_kernel_costs import COUNTED, PROFILES, core_named, estimate, with_costs
from instruction_classes import CLASSES, listing
from instruction_counts import TARGETS, Count, compiler_version, executed
from kernel_mix import ATTENTION, TOKENS, Mix, count_all, read_mix, with_counts
from x86_classes import x86_classes

from devices.profile import Cluster, Figure, check_profile
from devices.profile_file import read_profile
from edgecomp.measuring.kernel_set import kernel_formats
from tests.runtime_ops.harness import IN_CI

LISTING = """
0000000000001000 <multiply>:
    1000:\tld1\t{v0.16b-v1.16b}, [x0], #32
    1004:\tsdot\tv10.4s, v2.16b, v0.16b
    1008:\tb.ne\t1000 <multiply>  // b.any
    100c:\tret
"""
LOG = b"""----------------
IN: multiply
0x00001000:  4c40a000  ld1      {v0.16b, v1.16b}, [x0], #0x20
0x00001004:  4e80944a  .byte    0x4a, 0x94, 0x80, 0x4e
0x00001008:  54ffffe1  b.ne     #0x1000

Trace 0: 0x7f00 [0000000000001001/0000000000001000/00000001/00000200] multiply
Trace 0: 0x7f00 [0000000000001001/0000000000001000/00000001/00000200] multiply
IN: multiply
0x0000100c:  d65f03c0  ret
Trace 0: 0x7f80 [0000000000001001/000000000000100c/00000001/00000200] multiply
"""
ANEW = "neon_dotprod"
ANEW_KERNELS = ("trellis-k2-d1-l8-t64", "uniform-2", "uniform-4", "uniform-8", "raw-f32", "crvq-d8")
PIPES = {"A": 1.0, "B": 1.0, "L": 2.0}


def core(**uses: str) -> Core:
    """A core that starts four instructions in a cycle."""
    parsed = {kind: tuple(parse("a core", text, PIPES)) for kind, text in uses.items()}
    return Core("a core", 4, 0.5, 0.3, PIPES, parsed, (), "")


@pytest.mark.parametrize(
    ("name", "operands", "classes"),
    [
        ("ldr", "q0, [x1], #16", ("v_load", "writeback")),
        ("ldp", "d0, d1, [sp, #16]", ("v_load_pair_d",)),
        ("ldr", "x0, [x1, x2, lsl #3]", ("load",)),
        ("stp", "x29, x30, [sp, #-16]!", ("store_pair", "writeback")),
        ("ld1", "{v0.16b-v3.16b}, [x0]", ("v_load_4",)),
        ("ld1", "{v0.b}[3], [x0]", ("v_load_lane",)),
        ("ld1r", "{v0.4s}, [x0]", ("v_load_lane",)),
        ("tbl", "v0.16b, {v4.16b-v7.16b}, v0.16b", ("v_tbl4",)),
        ("tbl", "v0.8b, {v31.16b, v0.16b}, v0.8b", ("v_tbl2",)),
        ("tbx", "v0.16b, {v4.16b, v5.16b, v6.16b, v7.16b}, v0.16b", ("v_tbx4",)),
        ("smlal2", "v0.8h, v1.16b, v2.16b", ("v_mlal",)),
        ("mul", "v0.4h, v1.4h, v2.4h", ("v_mul_d",)),
        ("mul", "x0, x1, x2", ("mul",)),
        ("usdot", "v0.4s, v1.16b, v2.16b", ("v_dot",)),
        ("smmla", "v0.4s, v1.16b, v2.16b", ("v_mmla",)),
        ("ushr", "v0.16b, v1.16b, #4", ("v_shift",)),
        ("ushl", "v0.16b, v1.16b, v2.16b", ("v_shift_by",)),
        ("sadalp", "v0.4s, v1.8h", ("v_acc",)),
        ("mov", "v0.16b, v1.16b", ("v_alu",)),
        ("mov", "v0.s[1], w3", ("v_from_gpr",)),
        ("umov", "w0, v0.b[2]", ("v_to_gpr",)),
        ("fmadd", "s0, s1, s2, s3", ("v_fma_d",)),
        ("scvtf", "s0, w1", ("v_cvt_gpr",)),
        ("add", "x0, x1, x2, lsr #7", ("alu_shift",)),
        ("add", "x0, x1, x2, lsl #2", ("alu",)),
        ("cbnz", "x2, 400 <d0>", ("branch",)),
    ],
)
def test_classes_of_aarch64(name: str, operands: str, classes: tuple[str, ...]) -> None:
    """By the name, the width of registers, and what is stepped on."""
    assert arm_classes(name, operands) == classes


@pytest.mark.parametrize(
    ("name", "operands", "classes"),
    [
        ("vpshufb", "ymm0,ymm1,YMMWORD PTR [rax]", ("v_permute", "mem_load")),
        ("vmovdqu", "ymm0,YMMWORD PTR [rax]", ("v_load",)),
        ("vmovups", "XMMWORD PTR [rax],xmm0", ("v_store",)),
        ("vmovd", "eax,xmm0", ("v_to_gpr",)),
        ("vmovq", "xmm0,r9", ("v_from_gpr",)),
        ("vpmovsxbw", "ymm0,xmm1", ("v_cross",)),
        ("vpmovsxbw", "xmm0,xmm1", ("v_permute_d",)),
        ("vpbroadcastd", "ymm0,DWORD PTR [rax]", ("v_load",)),
        ("vpmaddubsw", "ymm0,ymm1,ymm2", ("v_mul",)),
        ("vpgatherdd", "ymm0,DWORD PTR [rax+ymm1*4],ymm2", ("v_gather",)),
        ("vextracti128", "XMMWORD PTR [rax],ymm0,0x1", ("v_cross", "mem_store")),
        ("add", "QWORD PTR [rsp],0x8", ("alu", "mem_load", "mem_store")),
        ("lea", "rax,[rbx+rcx*4]", ("alu",)),
        ("nop", "WORD PTR cs:[rax+rax*1+0x0]", ("nop",)),
        ("mov", "rax,rbx", ("move",)),
        ("mov", "eax,0x1", ("alu",)),
        ("movzx", "eax,BYTE PTR [rdx]", ("load",)),
    ],
)
def test_classes_of_x86(name: str, operands: str, classes: tuple[str, ...]) -> None:
    """By the name, the width of registers, and operands in memory."""
    assert x86_classes(name, operands) == classes


def test_a_comparison_belongs_to_the_jump_behind_it() -> None:
    """But only right before it."""
    rows = ["cmp    rax,rbx", "jne    1000 <f>", "test   eax,eax", "ret"]
    text = "0000000000001000 <f>:\n" + "".join(
        f"    100{i}:\t{row}\n" for i, row in enumerate(rows)
    )
    found = [row.classes for row in listing(text, "x86_64")]
    assert found == [(), ("branch",), ("alu",), ("branch", "mem_load")]


def test_counting_executed_blocks() -> None:
    """A block counts as often as it ran, also with instructions that the emulator cannot name."""
    blocks, starts = executed(LOG.splitlines(keepends=True))
    listed = {row.address: row for row in listing(LISTING, "aarch64")}
    found: Counter[str] = Counter()
    for start, times in starts.items():
        for address in blocks[start]:
            found.update(dict.fromkeys(listed[address].classes, times))
    assert found == {"v_load_2": 2, "writeback": 2, "v_dot": 2, "branch": 3}


def test_small_functions_are_together() -> None:
    """For each number, in three digits, without what hardly happens."""
    classes = {"loop": {"v_dot": 1000.0, "nop": 1.0}, "head": {"alu": 3.0}, "tail": {"alu": 6.0}}
    assert Count(30, classes).rounded() == {"loop": {"v_dot": 33.3}, "rest": {"alu": 0.3}}


def test_the_narrowest_group_of_pipes_decides() -> None:
    """Worked by hand: one pipe, two pipes together, loads, instructions started."""
    some = core(v_mul="A", v_alu="A|B", v_load="L", v_tbl4="3 A|B", nop="", writeback="L")
    assert bound(some, {"v_mul": 5, "v_alu": 1}) == 5
    assert bound(some, {"v_mul": 5, "v_alu": 9}) == 7
    assert bound(some, {"v_tbl4": 2, "v_load": 8}) == 4
    assert bound(some, {"nop": 12}) == 3
    assert bound(some, {"v_load": 8, "writeback": 8}) == 8
    assert cycles(some, {"f": {"v_mul": 5}, "g": {"v_load": 4}}) == (5 + 2) / 0.5


def test_half_registers_are_like_whole_ones_without_a_row() -> None:
    """And a class without any row is an error that names it."""
    some = core(v_alu="2 A", v_mul="A|B", v_mul_d="0.5 A")
    assert bound(some, {"v_alu_d": 3}) == 6
    assert bound(some, {"v_mul_d": 8}) == 4
    with pytest.raises(CoreError, match="a core has no row for v_dot"):
        bound(some, {"v_dot": 1})
    with pytest.raises(CoreError, match=r"'2 X' .* names other pipes than A, B, L"):
        parse("a core", "2 X", PIPES)


def test_every_table_says_where_it_is_from() -> None:
    """A source for each, and a row for all that kernels of its machine execute."""
    mix = read_mix()
    for name, table in read_cores().items():
        assert table.sources, name
        x86 = "P0" in table.pipes or "F0" in table.pipes
        for isa in ("avx2",) if x86 else ("neon", "neon_dotprod", "neon_i8mm"):
            for by_tokens in mix.kernels[isa].values():
                assert cycles(table, by_tokens[1]) > 0
            assert all(cycles(table, mix.steps[isa][case]) > 0 for case in ATTENTION)


def test_every_kernel_is_counted() -> None:
    """For each instruction set, with known classes alone."""
    mix = read_mix()
    assert set(mix.kernels) == set(COUNTED)
    for isa in COUNTED:
        assert set(mix.kernels[isa]) == set(kernel_formats())
        for by_tokens in mix.kernels[isa].values():
            assert tuple(by_tokens) == TOKENS


def test_an_estimate_can_be_used() -> None:
    """Complete, positive, and slower in order than out of order at the same clock."""
    found = {}
    for name in ("Cortex-A53", "Cortex-A72"):
        clock = Figure(value=1.5e9, source="s", estimated=False)
        some = read_profile(PROFILES / "pi-5.toml")
        cluster = Cluster(
            core=name,
            count=4,
            clock_hz=clock,
            instruction_sets=("scalar", "neon"),
            costs=some.clusters[0].costs,
        )
        found[name] = estimate(cluster)
    slow, fast = found["Cortex-A53"], found["Cortex-A72"]
    assert set(slow.kernels) == set(kernel_formats())
    assert all(cost.multiply_ns > 0 for cost in slow.kernels.values())
    assert slow.kernels["uniform-4"].generate_ns > fast.kernels["uniform-4"].generate_ns
    assert fast.kernels["uniform-4"].decode_ns > 0


def test_only_the_costs_are_rewritten() -> None:
    """Everything else stays as it is, comments and order too; so do costs of other sources."""
    text = (
        "# top\n[[clusters]]\ncore = 1\n\n[clusters.costs]\nold = 1\n\n[clusters.costs.kernels.a]\n"
        "old = 2\n\n[[clusters]]\ncore = 2 # two\n\n[clusters.costs]\nold = 3\n\n"
        "[bandwidth]\nx = 1\n"
    )
    costs = read_profile(PROFILES / "pi-5.toml").clusters[0].costs
    written = with_costs(text, [costs, None])
    head, kept = written.split("[[clusters]]\ncore = 2 # two")
    assert head.startswith("# top\n[[clusters]]\ncore = 1\n\n[clusters.costs]\nsource = ")
    assert "\nold = " not in head
    assert kept == "\n\n[clusters.costs]\nold = 3\n\n[bandwidth]\nx = 1\n"
    assert with_costs(written, [costs, None]) == written


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.toml")), ids=lambda path: path.stem)
def test_profiles_have_tables_for_their_cores(path: Path) -> None:
    """Every core that a packaged profile names."""
    profile = read_profile(path)
    check_profile(profile)
    cores = read_cores()
    for cluster in profile.clusters:
        assert core_named(cluster.core, cores).uses


def test_profiles_hold_the_estimates(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `estimate_kernel_costs.py --check` says."""
    monkeypatch.setattr(sys, "argv", ["estimate_kernel_costs.py", "--check"])
    assert estimate_kernel_costs.main() == 0, capsys.readouterr().out


def test_a_device_that_there_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line."""
    monkeypatch.setattr(sys, "argv", ["estimate_kernel_costs.py", "--check", "--device", "nope"])
    assert estimate_kernel_costs.main() == 1
    assert capsys.readouterr().err.startswith("error: ")


@pytest.fixture(scope="module")
def counted_anew() -> dict[str, dict[int, dict[str, dict[str, float]]]]:
    """Some kernels, one of each codec, counted as the C sources are now."""
    target = TARGETS[ANEW]
    tools = (target.compiler, target.objdump[0], target.emulator[0])
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing and not IN_CI:
        pytest.skip(f"counts NOT TESTED: no {', '.join(missing)} on this machine")
    assert not missing, f"{missing} must be installed in CI"
    committed = read_mix().compilers[target.machine]
    if compiler_version(target) != committed:
        pytest.skip(f"counted with GCC {committed}")
    return count_all([ANEW], ANEW_KERNELS).kernels[ANEW]


@pytest.mark.slow
@pytest.mark.parametrize("name", ANEW_KERNELS)
@pytest.mark.parametrize("tokens", TOKENS)
def test_counts_are_those_of_the_sources(
    counted_anew: dict[str, dict[int, dict[str, dict[str, float]]]], name: str, tokens: int
) -> None:
    """Else: `python benchmarks/estimate_kernel_costs.py --count KERNEL ..` after a change of C."""
    committed = read_mix().kernels[ANEW][name][tokens]
    assert total(counted_anew[name][tokens]) == pytest.approx(total(committed), rel=0.03)


def test_some_kernels_counted_anew() -> None:
    """Replace those of the same name alone."""
    old = Mix({"aarch64": "12"}, {"neon": {"a": {1: {}}, "b": {1: {}}}}, {"neon": {"norm": {}}})
    new = Mix({"aarch64": "12"}, {"neon": {"b": {1: {"f": {"alu": 1.0}}}}}, {"neon": {}})
    merged = with_counts(old, new)
    assert merged.kernels == {"neon": {"a": {1: {}}, "b": {1: {"f": {"alu": 1.0}}}}}
    assert merged.steps == old.steps


def total(functions: dict[str, dict[str, float]]) -> float:
    """Instructions for a weight."""
    return sum(sum(counts.values()) for counts in functions.values())


def test_counts_agree_with_the_disassembly() -> None:
    """One int8 dot product for 16 weights, and what docs/kernels.md says of the loop, nearly."""
    loop = read_mix().kernels["neon_dotprod"]["trellis-k2-d1-l8-t64"][1]["multiply_k2_l8_t64"]
    assert 16 * loop["v_dot"] == pytest.approx(1, abs=0.05)
    vector = sum(count for name, count in loop.items() if name.startswith("v_"))
    assert 16 * vector == pytest.approx(6.8, rel=0.05)
    assert set(loop) <= {*CLASSES, *(f"{name}_d" for name in CLASSES), "writeback"}
