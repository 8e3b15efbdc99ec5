r"""Extract the answer of a completion: its last ``\boxed{...}``, else its last declaration (`ngrpo.grading.markers`).

Both are searched from the end, so that only the end of a long completion is read; the effort is bounded by the
constants below and grows linearly with the length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ngrpo.grading.markers import marked_answer

BARE_CHARACTERS = 200
r"""Most characters that an answer after a brace-less ``\boxed`` may have."""
LONGEST_BOX = 50_000
"""Most characters inside a box; a longer one is taken for one that is never closed."""
MAX_BOXES = 2_000
"""Boxes that are looked at, from the end, until one is complete and not empty."""
MAX_BRACES = 50_000
"""Braces that are looked at in all boxes together."""

# Everything that can open or close a brace; an escaped brace is text, so the escape is consumed as one token.
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
# `\boxed 5`, `\boxed -\frac{1}{2}$`; words are prose about the command ("the \boxed notation"), not an answer.
_BARE = re.compile(r"(?!\\(?:boxed|fbox))(?:[-+.(\[\\]?[0-9\\(]|[A-Za-z](?=\$|\s*\Z))[^\s$]*")
_OPENS = re.compile(r"(?:\\boxed|\\fbox)(?![A-Za-z])\s*(\{)?")
_BLANK = re.compile(r"\s*")


def last_boxed(text: str) -> str | None:
    r"""Returns the content of the last complete box, or None where there is none.

    A box is ``\boxed{...}`` or ``\fbox{...}`` with balanced braces (escaped ones do not count), or ``\boxed
    5`` without braces. Last means: begins last, so that of nested boxes the inner one counts. A box that is
    empty or never closed (a completion cut off) is passed over.

    Args:
        text: a completion or a worked solution, any length, any characters.

    Returns:
        The content without surrounding white space.

    >>> last_boxed(r"So \boxed{1}, no: \boxed{\frac{1}{2}} and \boxed{3")
    '\\frac{1}{2}'
    >>> last_boxed(r"It is $\boxed 5$.")
    '5'
    >>> last_boxed("The answer is 5") is None
    True
    """
    boxed, framed = text.rfind(r"\boxed"), text.rfind(r"\fbox")
    # Where the next box begins, and where that one ends: -1 if never, in which case one around it never ends either.
    inner, inner_end = len(text), len(text)
    budget = [MAX_BRACES]
    for _ in range(MAX_BOXES):
        start = max(boxed, framed)
        if start < 0 or budget[0] <= 0:
            return None
        if (plain := _plain_box(text, start)) is not None:
            return plain
        opens = _OPENS.match(text, start, start + BARE_CHARACTERS)
        if opens and opens[1]:
            end = _closing(text, opens.end(), (inner, inner_end), budget)
            if end >= 0 and not _BLANK.fullmatch(text, opens.end(), end - 1):
                return text[opens.end() : end - 1].strip()
            inner, inner_end = start, end
        elif opens and (bare := _BARE.match(text, opens.end(), opens.end() + BARE_CHARACTERS)):
            return bare[0].rstrip(".,;:!?")
        boxed, framed = (
            text.rfind(r"\boxed", 0, start) if boxed == start else boxed,
            text.rfind(r"\fbox", 0, start) if framed == start else framed,
        )
    return None


def _plain_box(text: str, start: int) -> str | None:
    """Returns the content of a box without braces inside, if there is any: most are such, and this is fastest."""
    if not text.startswith(r"\boxed{", start):
        return None
    begin = start + len(r"\boxed{")
    end = text.find("}", begin, begin + BARE_CHARACTERS)
    if end < 0 or text[end - 1] == "\\" or text.find("{", begin, end) >= 0:
        return None
    return text[begin:end].strip() or None


def _closing(text: str, begin: int, skipped: tuple[int, int], budget: list[int]) -> int:
    """Returns the end of a box whose content begins at `begin`, -1 where it is not closed."""
    inner, inner_end = skipped
    depth, position, limit = 1, begin, min(len(text), begin + LONGEST_BOX)
    while position < limit and budget[0] > 0:
        budget[0] -= 1
        found = _BRACE.search(text, position, limit)
        if found is None:
            return -1
        if found.start() >= inner:
            if inner_end < 0:
                return -1
            position, inner = inner_end, len(text)
            continue
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        position = found.end()
        if depth == 0:
            return position
    return -1


def extract_answer(text: str, markers: Sequence[str] = ()) -> str | None:
    r"""Returns the final answer of a completion: its last box, else its last declaration, else None.

    Args:
        text: the completion.
        markers: plain texts that announce an answer too, in any case, such as "My answer:"; see `MARKERS`.

    >>> extract_answer(r"Hence $x = \boxed{ 42 }$."), extract_answer("The answer is 42."), extract_answer("It is 42.")
    ('42', '42', None)
    """
    boxed = last_boxed(text)
    return boxed if boxed is not None else marked_answer(text, markers)
