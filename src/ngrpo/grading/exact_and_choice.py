r"""Two matchers for answers that are no mathematics: exact text, and the letter of a multiple-choice answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ngrpo.grading.extract import extract_answer, last_boxed
from ngrpo.grading.strict.equivalence import grade_of
from ngrpo.types import Grade

# A letter alone or in parentheses; after a mark, or after parentheses, the text of the choice may follow.
_LETTER = re.compile(
    r"\(?([A-Za-z])\)?|[(\[]([A-Za-z])[)\]]\s*\S.*|([A-Za-z])(?:[).:]|\s+[-–—])\s*\S.*|([A-Za-z])[).:]", re.S
)
_WRAPPED = re.compile(r"\\(?:text(?:bf|it|rm|sf|tt)?|math(?:rm|bf|it|sf|tt)|mbox|boxed|fbox)\s*\{([^{}]*)\}")
_SPACING = re.compile(r"\\[ ,;:!]|\\q?quad(?![A-Za-z])|~|\\[()\[\]]|[$*_`\"“”]")
_NAMED = re.compile(
    r"(?:the\s+)?(?:(?:correct|final|right|best)\s+)?(?:option|choice|answer|letter|选项?)(?:\s+is)?\s*[:：]?\s*", re.I
)


def exact_answer(completion: str) -> str | None:
    r"""Returns the last box of a completion, else all of its text; None where there is nothing.

    >>> exact_answer(" Paris "), exact_answer(r"I say \boxed{Paris}"), exact_answer(" ")
    ('Paris', 'Paris', None)
    """
    return last_boxed(completion) or completion.strip() or None


def exact_grade(answer: str, reference: str) -> Grade:
    """Returns whether two texts are the same but for white space around them.

    >>> exact_grade("Paris", " Paris").status, exact_grade("paris", "Paris").status
    ('correct', 'wrong')
    """
    return grade_of(answer.strip() == reference.strip(), "exact")


def choice_answer(completion: str, markers: Sequence[str] = ()) -> str | None:
    r"""Returns the letter that a completion chooses in its last box or declaration, or is; else None.

    >>> choice_answer(r"\boxed{\text{(B)}}"), choice_answer("The answer is C) 12."), choice_answer("no")
    ('B', 'C', None)
    """
    answer = extract_answer(completion, markers)
    return letter_of(completion.strip() if answer is None else answer)


def choice_grade(answer: str, reference: str) -> Grade:
    """Returns whether a letter is the one that the reference names.

    >>> choice_grade("B", "(b)").status, choice_grade("B", "Paris").status
    ('correct', 'ungraded')
    """
    wanted = letter_of(reference)
    if wanted is None:
        return Grade("ungraded", 0.0, reason="the reference is no choice")
    return grade_of(letter_of(answer) == wanted, "choice")


def choice_fault(reference: str) -> str | None:
    """Returns why a reference is no choice, None where it is one."""
    return None if letter_of(reference) else "a choice is one letter, such as B or (B)"


def letter_of(text: str) -> str | None:
    r"""Returns the upper-case letter that a short answer names, or None.

    >>> letter_of("(b)"), letter_of("B: 12"), letter_of("Because"), letter_of("12")
    ('B', 'B', None, None)
    >>> letter_of(r"\textbf{(B)}\ 12"), letter_of(r"\text{(D) Alina}"), letter_of("Option B"), letter_of("A cat")
    ('B', 'D', 'B', None)
    """
    text = text[:500]
    for _ in range(3):
        text = _WRAPPED.sub(r"\1", text)
    text = _SPACING.sub(" ", text).strip().rstrip(".。,;")
    named = _NAMED.match(text)
    found = _LETTER.fullmatch(text[named.end() :] if named else text)
    return next((letter.upper() for letter in found.groups() if letter), None) if found else None
