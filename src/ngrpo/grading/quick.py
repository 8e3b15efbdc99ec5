r"""Verdicts of `strict` on two short plain numbers, in microseconds and without a process."""

from __future__ import annotations

import re
from functools import lru_cache

from ngrpo.grading.strict.equivalence import grade_of
from ngrpo.grading.strict.normalize import normalize_answer
from ngrpo.grading.strict.numbers import Number, plain_number
from ngrpo.types import Grade

MOST_CHARACTERS = 40

_PLAIN = re.compile(r"(?:[0-9.,/+\-{}$ ]|\\frac)+")
_NORMAL = re.compile(r"-?[0-9]+(?:\.[0-9]+|/[0-9]+)?|-?\\frac\{[0-9]+\}\{[0-9]+\}")
"""Spellings that normalisation leaves as they are."""


def quick_number_grade(answer: str, reference: str) -> Grade | None:
    r"""Returns the grade of `settled` where both texts are short plain numbers, else None.

    >>> quick_number_grade("0.50", r"\frac{1}{2}"), quick_number_grade("x", "1")
    (Grade(status='correct', reward=1.0, answer=None, reason='number'), None)
    >>> quick_number_grade("2.50", "2.5001")
    Grade(status='wrong', reward=0.0, answer=None, reason='rounded')
    """
    theirs = _number(reference)
    ours = _number(answer) if theirs is not None else None
    if ours is None or theirs is None:
        return None
    (our_text, our_number), (their_text, their_number) = ours, theirs
    if our_text == their_text:
        return Grade("correct", 1.0, reason="text")
    if our_number.value == their_number.value:
        return Grade("correct", 1.0, reason="number")
    if not their_number.rounded or their_number.last_digit is None:
        return Grade("wrong", 0.0, reason="number")
    # A decimal reference of three or more digits stands for all values that round to it.
    near = abs(our_number.value - their_number.value) <= their_number.last_digit / 2
    return grade_of(near, "rounded")


@lru_cache(maxsize=4096)
def _number(text: str) -> tuple[str, Number] | None:
    if len(text) > MOST_CHARACTERS or not _PLAIN.fullmatch(text):
        return None
    normal = text if _NORMAL.fullmatch(text) else normalize_answer(text)
    number = plain_number(normal)
    return None if number is None else (normal, number)
