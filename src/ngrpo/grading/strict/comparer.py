r"""When two answers are the same: a list of rules, of which the first that applies decides.

Each rule takes both normalised answers and returns a `Finding`, or None where it does not apply. The rules know
structure; single expressions are left to the `Leaf` function that the caller gives, so that the same rules
serve where an expression is compared by its values and where the worker compares it with sympy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

Leaf = Callable[[str, str], bool | None]
"""Whether an answer and a reference, both single expressions, are equal, or None where it cannot tell."""
MAX_COMPARISONS = 1_500
"""Comparisons of parts that one pair may cost: lists of lists are compared element by element."""


class Finding(NamedTuple):
    """Whether two answers are equal (None: undecided) and the rule that says so."""

    equal: bool | None
    rule: str


class Comparer:
    """Applies rules to an answer and a reference, and to their parts."""

    def __init__(self, rules: tuple[Rule, ...], leaf: Leaf) -> None:
        self._rules = rules
        self._leaf = leaf
        self._left = MAX_COMPARISONS

    def compare(self, answer: str, reference: str) -> Finding:
        """Returns the finding of the first rule that applies."""
        self._left -= 1
        if self._left < 0:
            return Finding(False, "limit")
        for rule in self._rules:
            finding = rule(self, answer, reference)
            if finding is not None:
                return finding
        return Finding(self._leaf(answer, reference), "expression")

    def equal(self, answer: str, reference: str) -> bool | None:
        """Returns whether two parts are equal."""
        return self.compare(answer, reference).equal


Rule = Callable[[Comparer, str, str], Finding | None]
