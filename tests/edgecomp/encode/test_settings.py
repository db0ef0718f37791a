"""Settings refuse names that no encoder knows, and numbers out of range, by the field's name."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from edgecomp.encode import CrvqSettings, LatticeSettings, SettingsError

CHOICES = {
    (kind, field): get_args(hint)
    for kind in (CrvqSettings, LatticeSettings)
    for field, hint in get_type_hints(kind).items()
    if get_origin(hint) is Literal
}


def test_fields_with_choices() -> None:
    """A field that is added is tested below, one that is lost is missed here."""
    assert {field for kind, field in CHOICES if kind is CrvqSettings} == {
        "critical_codes", "allocation", "importance", "initialisation", "share",
        "codebook_dtype", "finetune",
    }  # fmt: skip
    assert {field for kind, field in CHOICES if kind is LatticeSettings} == {
        "generator",
        "importance",
    }


@pytest.mark.parametrize(("kind", "field"), CHOICES, ids=lambda part: getattr(part, "codec", part))
@pytest.mark.parametrize("value", ["blocks", "", None, 1])
def test_a_choice_that_there_is_not(kind: Any, field: str, value: object) -> None:
    expected = " or ".join(CHOICES[kind, field])
    with pytest.raises(SettingsError, match=f"^{field} is {value}, expected {expected}$"):
        kind(**{field: value})


@pytest.mark.parametrize(("kind", "field"), CHOICES, ids=lambda part: getattr(part, "codec", part))
def test_every_choice(kind: Any, field: str) -> None:
    for value in CHOICES[kind, field]:
        assert getattr(kind(**{field: value}), field) == value


@pytest.mark.parametrize("bits", [0.2, 24.1, 99.0, float("nan")])
def test_bits_of_embeddings(bits: float) -> None:
    with pytest.raises(SettingsError, match=f"^outer_bits is {bits}, expected 0.25..24$"):
        CrvqSettings(outer_bits=bits)


@pytest.mark.parametrize("bits", [0.25, 24.0])
def test_least_and_most_bits_of_embeddings(bits: float) -> None:
    assert CrvqSettings(outer_bits=bits).outer == LatticeSettings(bits=bits)


@pytest.mark.parametrize("damping", [0.0, 1e-9, 0.99e-4, 1.01, float("nan")])
def test_damping(damping: float) -> None:
    with pytest.raises(SettingsError, match=f"^damping is {damping}, expected 0.0001..1$"):
        CrvqSettings(damping=damping)
    assert CrvqSettings(damping=1e-4).damping == 1e-4
    assert CrvqSettings(damping=1.0).damping == 1.0
