r"""Whether a reference answer can be reached at all: checked when problems are loaded, before a model is.

A reference that no rule of `strict` can read equals nothing but its own spelling: its groups would be all-wrong for
ever, and NGRPO would push every completion of theirs down.
"""

from __future__ import annotations

import re

from ngrpo.grading.strict.brackets import matrix, sequence, split_at
from ngrpo.grading.strict.equivalence import SYMPY_COMMANDS, over_limits
from ngrpo.grading.strict.expression import parse
from ngrpo.grading.strict.normalize import normalize_answer
from ngrpo.grading.strict.numbers import numeral, plain_number
from ngrpo.grading.strict.real_sets import real_set
from ngrpo.grading.strict.words import quantity, said, without_condition, without_labels, words_of
from ngrpo.grading.strict.zero_test import is_too_large, is_undefined

MAX_PARTS_DEEP = 6
"""Levels at which a reference is taken apart: a list of matrices of equations has three."""

_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
# What `strict` leaves to sympy or compares by its spelling on purpose: nothing is wrong with these.
_BEYOND = re.compile(
    SYMPY_COMMANDS
    + r"|\\(?:equiv|pmod|forall|exists|ldots|mathbb|vec|hat|overline|triangle|angle|text)(?![A-Za-z])"
    + r"|'|(?<![A-Za-z\\])[fghFGHP]\(|[0-9]_\{?[0-9]"
)
_SPLITS = (("=",), (":",), (r"\approx",), (r"\pm",), ("<", ">", r"\le", r"\ge"), (r"\cup", r"\lor"))


def reference_fault(reference: str) -> str | None:
    r"""Returns why `strict` could accept no answer for a reference but its own spelling, or None where it can read it.

    Args:
        reference: the reference answer, with or without math delimiters.

    >>> reference_fault(r"\frac{1}{2}"), reference_fault(r"336^\circ"), reference_fault("Petya wins.")
    (None, None, None)
    >>> reference_fault(r"\frac{1}{2"), reference_fault("1/0"), reference_fault("2+*3")
    ('its braces do not match', 'it has no value', 'no rule can read it')
    """
    limit = over_limits("0", reference)
    if limit is not None and limit.status == "ungraded":
        return limit.reason
    if not _balanced(reference):
        return "its braces do not match"
    text = normalize_answer(reference)
    if not text:
        return "nothing is left of it without its spelling"
    if not _readable(text, MAX_PARTS_DEEP):
        return "no rule can read it"
    if any(is_too_large(part) for part in re.split("[,=]", text)):
        return "a number in it is too large"
    tree = parse(text)
    if tree is not None and not re.search(r"\\infty|:", text) and is_undefined(tree):
        return "it has no value"
    return None


def _readable(text: str, depth: int) -> bool:
    if not text:
        return False
    if plain_number(text) or numeral(text) or words_of(text) is not None or parse(text) is not None:
        return True
    if real_set(text) is not None or said(text) is not None or _BEYOND.search(text):
        return True
    return depth > 0 and any(all(_readable(part, depth - 1) for part in parts) for parts in _parts(text))


def _parts(text: str) -> list[list[str]]:
    """The ways in which a text comes apart: lists, cells, sides, and what is left without unit, label or condition."""
    rows, listed = matrix(text), sequence(text)
    ways = [[cell for row in rows for cell in row]] if rows else []
    if listed:
        ways.append(list(listed.parts))
    ways += [parts for marks in _SPLITS if len(parts := split_at(text, *marks)) > 1]
    shorter = (without_condition(text)[0], without_labels(text), quantity(text).core)
    return ways + [[other] for other in shorter if other and other != text]


def _balanced(text: str) -> bool:
    depth = 0
    for found in _BRACE.finditer(text):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth < 0:
            return False
    return depth == 0
