r"""Verdicts of `strict` on two short plain numbers, in microseconds and without a process."""

from __future__ import annotations

import re
from functools import lru_cache

from ngrpo.grading.strict.equivalence import Verdict
from ngrpo.grading.strict.normalize import normalize_answer
from ngrpo.grading.strict.numbers import Number, plain_number

MOST_CHARACTERS = 40

_PLAIN = re.compile(r"(?:[0-9.,/+\-{}$ ]|\\frac)+")
_NORMAL = re.compile(r"-?[0-9]+(?:\.[0-9]+|/[0-9]+)?|-?\\frac\{[0-9]+\}\{[0-9]+\}")
"""Spellings that normalisation leaves as they are."""


def quick_number_verdict(answer: str, reference: str) -> Verdict | None:
    r"""Returns the verdict of `settled` where both texts are short plain numbers, else None.

    >>> quick_number_verdict("0.50", r"\frac{1}{2}"), quick_number_verdict("x", "1")
    (Verdict(status='correct', reason='number'), None)
    >>> quick_number_verdict("2.50", "2.5001")
    Verdict(status='wrong', reason='rounded')
    """
    theirs = _number(reference)
    ours = _number(answer) if theirs is not None else None
    if ours is None or theirs is None:
        return None
    (our_text, our_number), (their_text, their_number) = ours, theirs
    if our_text == their_text:
        return Verdict("correct", "text")
    if our_number.value == their_number.value:
        return Verdict("correct", "number")
    if not their_number.rounded or their_number.last_digit is None:
        return Verdict("wrong", "number")
    # A decimal reference of three or more digits stands for all values that round to it.
    near = abs(our_number.value - their_number.value) <= their_number.last_digit / 2
    return Verdict("correct" if near else "wrong", "rounded")


@lru_cache(maxsize=4096)
def _number(text: str) -> tuple[str, Number] | None:
    if len(text) > MOST_CHARACTERS or not _PLAIN.fullmatch(text):
        return None
    normal = text if _NORMAL.fullmatch(text) else normalize_answer(text)
    number = plain_number(normal)
    return None if number is None else (normal, number)
