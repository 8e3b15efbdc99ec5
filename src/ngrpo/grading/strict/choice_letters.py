r"""Letters of multiple-choice answers, with or without the text of the choice: `(B)`, `\text{(B)}12`, `Option B`."""

from __future__ import annotations

import re
from typing import NamedTuple

from ngrpo.grading.strict.comparer import Comparer, Finding
from ngrpo.grading.strict.words import unmarked

_CHOICE = re.compile(
    r"\s*(?P<word>(?:the\s+)?(?:correct\s+)?(?:option|choice|answer)(?:\s+is)?:?\s*)?"
    r"(?:\(\s*(?P<enclosed>[A-Ja-j])\s*\)|(?P<bare>[A-J])(?:(?P<mark>[.)]|:(?![A-Z]))|(?![A-Za-z0-9_^(\[':])))\s*[.:]?\s*(?P<text>.*)",
    re.DOTALL | re.IGNORECASE,
)
_NEXT = re.compile(r"\([A-Ja-j]\)")


class Choice(NamedTuple):
    """A letter, the text behind it, and whether anything but the letter shows that it is a choice."""

    letter: str
    text: str
    marked: bool


def choice(text: str) -> Choice | None:
    r"""Returns the choice that a normalised text is, or None.

    >>> choice(r"\text{(D) Alina}"), choice("B")
    (Choice(letter='D', text='Alina', marked=True), Choice(letter='B', text='', marked=False))
    >>> choice("A(1,2)"), choice("(a)5(b)7"), choice("Because")
    (None, None, None)
    """
    found = _CHOICE.fullmatch(unmarked(text))
    if found is None or _NEXT.search(found["text"]):
        return None
    letter, rest = found["enclosed"] or found["bare"], found["text"].strip()
    marked = bool(found["word"] or found["enclosed"] or found["mark"])
    if (found["bare"] and not found["bare"].isupper()) or (rest and not marked):
        return None
    return Choice(letter, rest, marked or r"\text" in text)


def choices(comparer: Comparer, answer: str, reference: str) -> Finding | None:
    """A letter decides; where the reference has none, the text behind the answer's letter does."""
    ours, theirs = choice(answer), choice(reference)
    if theirs is None:
        if ours and ours.text and ours.letter.isupper() and ours.letter not in reference:
            return comparer.compare(ours.text, reference)
        return None
    if ours is None:
        return comparer.compare(answer, theirs.text) if theirs.text else None
    folded = ours.marked or theirs.marked
    same = ours.letter.upper() == theirs.letter.upper() if folded else ours.letter == theirs.letter
    if same and ours.text and theirs.text:
        return Finding(comparer.equal(ours.text, theirs.text) is not False, "choice")
    if not same and not (ours.text or theirs.text) and not folded:
        return None
    return Finding(same, "choice")
