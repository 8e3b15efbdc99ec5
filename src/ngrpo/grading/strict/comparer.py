r"""When two answers are the same: a list of rules, of which the first that applies decides.

Each rule knows one type of answer. It takes both normalised answers, reads them as that type, and returns a `Finding`,
or None where neither is of the type. Single expressions are left to the `Leaf` function that the caller gives, so that
the same rules serve where an expression is compared by its values and where the worker compares it with sympy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from ngrpo.grading.strict.normalize import readings

Leaf = Callable[[str, str], bool | None]
"""Whether an answer and a reference, both single expressions, are equal, or None where it cannot tell."""
MAX_COMPARISONS = 1_500
"""Comparisons of parts that one pair may cost: lists of lists are compared element by element."""


class Finding(NamedTuple):
    """Whether two answers are equal (None: undecided) and the rule that found it."""

    equal: bool | None
    rule: str


class Comparer:
    """Applies rules to an answer and a reference, and to their parts."""

    def __init__(self, rules: tuple[Rule, ...], leaf: Leaf) -> None:
        self._rules = rules
        self._leaf = leaf
        self._left = MAX_COMPARISONS

    def compare(self, answer: str, reference: str) -> Finding:
        """Returns the finding of the first rule that applies, for the pair of readings that agree if there are any."""
        return self.any_of((ours, theirs) for theirs in readings(reference) for ours in readings(answer))

    def any_of(self, pairs: Iterable[tuple[str, str]]) -> Finding:
        """Returns the first finding of equality among pairs of readings, else an undecided one, else the first."""
        findings: list[Finding] = []
        for pair in pairs:
            findings.append(self._compared(*pair))
            if findings[-1].equal:
                return findings[-1]
        return next((finding for finding in findings if finding.equal is None), findings[0])

    def equal(self, answer: str, reference: str) -> bool | None:
        """Returns whether two parts are equal."""
        return self.compare(answer, reference).equal

    def _compared(self, answer: str, reference: str) -> Finding:
        self._left -= 1
        if self._left < 0:
            return Finding(False, "limit")
        for rule in self._rules:
            finding = rule(self, answer, reference)
            if finding is not None:
                return finding
        return Finding(self._leaf(answer, reference), "expression")


Rule = Callable[[Comparer, str, str], Finding | None]


def all_equal(results: Iterable[bool | None]) -> bool | None:
    """Returns whether all are true; None if that is unknown.

    >>> all_equal([True, True]), all_equal([None, False]), all_equal([True, None])
    (True, False, None)
    """
    found = list(results)
    if any(result is False for result in found):
        return False
    return None if None in found else True


def same_elements(equal: Callable[[str, str], bool | None], ours: Iterable[str], theirs: Iterable[str]) -> bool | None:
    """Returns whether two collections hold the same elements, each as often, in any order."""
    left = list(theirs)
    mine = list(ours)
    if len(mine) != len(left):
        return False
    unsure = False
    for part in mine:
        results: list[bool | None] = []
        for other in left:
            results.append(equal(part, other))
            if results[-1]:
                break
        if True in results:
            del left[results.index(True)]
        elif None in results:
            unsure = True
        else:
            return False
    return None if unsure else True
