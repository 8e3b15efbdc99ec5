"""Sets of reals against an oracle that asks number by number."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from ngrpo.grading.strict.equivalence import settled
from ngrpo.grading.strict.set_reader import is_marked, read_set

SAMPLES = [Fraction(half, 2) for half in range(-14, 15)]


class Interval(NamedTuple):
    low: int
    low_closed: bool
    high: int
    high_closed: bool

    def __contains__(self, value: object) -> bool:
        assert isinstance(value, Fraction)
        above = value >= self.low if self.low_closed else value > self.low
        return above and (value <= self.high if self.high_closed else value < self.high)

    def as_interval(self) -> str:
        return f"{'[' if self.low_closed else '('}{self.low},{self.high}{']' if self.high_closed else ')'}"

    def as_chain(self) -> str:
        signs = [r"\le " if closed else "<" for closed in (self.low_closed, self.high_closed)]
        return f"{self.low}{signs[0]}x{signs[1]}{self.high}"

    def as_conjunction(self) -> str:
        above, below = (r"\ge " if self.low_closed else ">"), (r"\le " if self.high_closed else "<")
        return rf"x{below}{self.high}\text{{ and }}x{above}{self.low}"

    def as_scaled(self) -> str:
        signs = [r"\ge " if closed else ">" for closed in (self.low_closed, self.high_closed)]
        return f"{-2 * self.low}{signs[0]}-2x{signs[1]}{-2 * self.high}"


INTERVALS = st.builds(
    lambda ends, low, high: Interval(ends[0], low, ends[1], high),
    st.lists(st.integers(-6, 6), min_size=2, max_size=2, unique=True).map(sorted),
    st.booleans(),
    st.booleans(),
)
UNIONS = st.lists(INTERVALS, min_size=1, max_size=4)


def members(union: list[Interval]) -> set[Fraction]:
    return {value for value in SAMPLES if any(value in interval for interval in union)}


def verdict(answer: str, reference: str) -> bool:
    found = settled(answer, reference)
    assert found is not None
    return found.status == "correct"


@given(UNIONS, UNIONS)
def test_unions_are_equal_when_they_have_the_same_elements(one: list[Interval], other: list[Interval]) -> None:
    answer = r"\cup".join(interval.as_interval() for interval in one)
    reference = r"\lor ".join(interval.as_chain() for interval in other)
    # Ends are whole numbers, so halves tell all sets apart.
    assert verdict(answer, reference) == (members(one) == members(other))


@given(INTERVALS, INTERVALS)
def test_every_way_of_writing_an_interval(one: Interval, other: Interval) -> None:
    same = members([one]) == members([other])
    for answer in (one.as_chain(), one.as_conjunction(), one.as_scaled()):
        for reference in (other.as_chain(), other.as_conjunction(), other.as_scaled(), "x\\in" + other.as_interval()):
            assert verdict(answer, reference) == same, (answer, reference)


@given(UNIONS, st.integers(-6, 6))
def test_a_point_taken_out_matters_where_it_was(union: list[Interval], point: int) -> None:
    whole = r"\cup".join(interval.as_interval() for interval in union)
    inside = any(Fraction(point) in interval for interval in union)
    assert not verdict(rf"x\ne {point}", r"\mathbb{R}")
    other = [rf"{interval.as_interval()}\setminus\{{{point}\}}" for interval in union]
    assert verdict(r"\cup".join(other), "x\\in" + whole) == (not inside)


def test_relations_with_commas_all_hold_unless_they_exclude_each_other() -> None:
    assert verdict("x>-3,x<3", "(-3,3)")
    assert verdict("x<-3,x>3", r"(-\infty,-3)\cup(3,\infty)")
    assert not verdict(r"x<-3\text{ and }x>3", r"(-\infty,-3)\cup(3,\infty)")


def test_what_is_no_set() -> None:
    for text in ("", "5", "x+1", "(1,2,3)", "x=1,y=2", r"\{1,2,\ldots\}", "1<x,y<2", "x<y<z<w", "((((1,2"):
        assert read_set(text) is None, text
    assert not is_marked("(1,2)")
    assert is_marked("]1,2[")
