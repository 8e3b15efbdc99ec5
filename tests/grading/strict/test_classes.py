"""Congruences and progressions against plain arithmetic; ± against a list of its values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngrpo.grading.strict.equivalence import settled
from ngrpo.grading.strict.lists import MAX_SIGNS

RESIDUES, MODULI = st.integers(-20, 20), st.integers(2, 12)


def verdict(answer: str, reference: str) -> bool:
    found = settled(answer, reference)
    assert found is not None
    return found.status == "correct"


@given(RESIDUES, RESIDUES, MODULI, MODULI)
def test_congruences_and_progressions_are_classes(one: int, other: int, modulus: int, second: int) -> None:
    same = modulus == second and (one - other) % modulus == 0
    answer, reference = rf"x\equiv {one}\pmod{{{modulus}}}", rf"x\equiv {other}\ (\text{{mod }} {second})"
    assert verdict(answer, reference) == same
    assert verdict(rf"x={modulus}k{one:+d}", reference) == same
    shifted = rf"{second}n{other:+d},n\in\mathbb{{Z}}"
    assert verdict(rf"{modulus}k{one:+d}\text{{ for integer }}k", shifted) == same


@given(RESIDUES, RESIDUES, MODULI)
def test_angles_with_an_offset_are_classes_without_a_condition(one: int, other: int, step: int) -> None:
    answer, reference = rf"\frac{{{one}\pi}}{{7}}+{step}k\pi", rf"\frac{{{other}\pi}}{{7}}+{step}n\pi"
    same = one == other or (other % (7 * step) != 0 and (one - other) % (7 * step) == 0)
    assert verdict(answer, reference) == same


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_plus_minus_is_its_two_values(start: int, size: int, extra: int) -> None:
    values = f"{start + size},{start - size},{extra}"
    for answer in (rf"{start}\pm {size},{extra}", rf"\{{{extra},{start}\pm {size}\}}"):
        assert verdict(answer, values)
        assert not verdict(answer, f"{start + size},{start - size + 1},{extra}")
        assert not verdict(f"{start + size},{extra}", answer)


@pytest.mark.parametrize("count", [MAX_SIGNS + 1, 30])
def test_many_signs_are_a_limit(count: int) -> None:
    found = settled("1" + r"\pm 2" * count, "1")
    assert found is not None
    assert (found.status, found.reason) == ("wrong", "limit")
