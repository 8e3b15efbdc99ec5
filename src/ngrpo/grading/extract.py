r"""From a completion to the answer inside it: its last ``\boxed{...}``, else what follows a declared marker.

Both are searched from the end, so that only the end of a long completion is read; the effort is bounded by the
constants below and grows linearly with the length.
"""

from __future__ import annotations

import re

BARE_CHARACTERS = 200
r"""Most characters that an answer after a brace-less ``\boxed`` may have."""
LONGEST_BOX = 50_000
"""Most characters inside a box; a longer one is taken for one that is never closed."""
MAX_BOXES = 2_000
"""Boxes that are looked at, from the end, until one is complete and not empty."""
MAX_BRACES = 50_000
"""Braces that are looked at in all boxes together."""
MARKER_WINDOW = 50_000
"""Characters at the end of a completion in which markers are looked for."""
MARKED_CHARACTERS = 500
"""Most characters of an answer after a marker."""
MARKERS = ("final answer is", "final answer:", "answer is", "answer:", "####")
"""What announces an answer where there is no box, in any case; the last one in the text counts."""

# Everything that can open or close a brace; an escaped brace is text, so the escape is consumed as one token.
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
# `\boxed 5`, `\boxed -\frac{1}{2}$`; words are prose about the command ("the \boxed notation"), not an answer.
_BARE = re.compile(r"(?!\\(?:boxed|fbox))(?:[-+.(\[\\]?[0-9\\(]|[A-Za-z](?=\$|\s*\Z))[^\s$]*")
_OPENS = re.compile(r"(?:\\boxed|\\fbox)(?![A-Za-z])\s*(\{)?")
_BLANK = re.compile(r"\s*")
_MATHEMATICS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))
_END_OF_SENTENCE = re.compile(r"\n|[.!?](?=\s|\Z)|(?<![0-9]),\s|;\s|\*\*")


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


def marked_answer(text: str) -> str | None:
    r"""Returns what follows the last marker, up to the end of its sentence or formula; None where there is none.

    >>> marked_answer("6 + 6 = 12\n#### 12"), marked_answer("**Final answer:** $x = 5$, as above.")
    ('12', 'x = 5')
    """
    text = text[-MARKER_WINDOW:]
    lower = text.lower() if text.isascii() else text.translate(_LOWER)
    ends = [(lower.rfind(marker), len(marker)) for marker in MARKERS]
    begin = max((at + length for at, length in ends if at >= 0), default=-1)
    if begin < 0:
        return None
    answer = text[begin : begin + MARKED_CHARACTERS].lstrip(" \t\r\n:*_")
    for opening, closing in _MATHEMATICS:
        if answer.startswith(opening):
            inside, closed, _ = answer[len(opening) :].partition(closing)
            return (inside.strip() or None) if closed else None
    end = _END_OF_SENTENCE.search(answer)
    answer = (answer[: end.start()] if end else answer).strip().rstrip(".,;:*")
    return answer or None


# Only ASCII letters: the lower case of some others has another length, and positions must stay what they are.
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def extract_answer(text: str) -> str | None:
    r"""Returns the final answer of a completion: its last box, else what its last marker announces, else None.

    Args:
        text: the completion.

    >>> extract_answer(r"Hence $x = \boxed{ 42 }$."), extract_answer("The answer is 42."), extract_answer("It is 42.")
    ('42', '42', None)
    """
    boxed = last_boxed(text)
    return boxed if boxed is not None else marked_answer(text)
