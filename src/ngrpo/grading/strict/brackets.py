r"""The outer shape of an answer: where its lists, brackets, equations and matrices come apart."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_PARTS = 60
"""A list with more elements is not compared element by element."""

_PIECE = re.compile(r"\\begin\{[a-z]*\*?\}|\\end\{[a-z]*\*?\}|\\\\|\\[A-Za-z]+|\\.|.", re.DOTALL)
_OPENING = frozenset(("(", "[", "{", r"\{", r"\lfloor", r"\lceil", r"\langle"))
_CLOSING = frozenset((")", "]", "}", r"\}", r"\rfloor", r"\rceil", r"\rangle"))
_BRACKETS = (("(", ")"), ("[", "]"), (r"\{", r"\}"), (r"\langle", r"\rangle"), ("(", "]"), ("[", ")"))


class Sequence(NamedTuple):
    """Elements and the brackets around them: "" for a bare list."""

    opening: str
    closing: str
    parts: tuple[str, ...]


def split_at(text: str, *marks: str) -> list[str]:
    r"""Returns the parts of a text between the given marks, where these stand outside all brackets.

    Marks are single characters or whole commands.

    >>> split_at(r"(1,2),\{3,4\}", ","), split_at(r"a\cup b", r"\cup")
    (['(1,2)', '\\{3,4\\}'], ['a', 'b'])
    """
    if not any(mark in text for mark in marks):
        return [text.strip()]
    parts, depth, begin = [], 0, 0
    for piece in _PIECE.finditer(text):
        token = piece[0]
        if token in _OPENING or token.startswith(r"\begin{"):
            depth += 1
        elif token in _CLOSING or token.startswith(r"\end{"):
            depth -= 1
        # A half-open interval may be closed by another bracket, which is why only depth counts.
        elif depth == 0 and token in marks:
            parts.append(text[begin : piece.start()].strip())
            begin = piece.end()
    return [*parts, text[begin:].strip()]


def sequence(text: str) -> Sequence | None:
    r"""Returns the elements of a list, tuple, set or interval; None for a single thing.

    >>> sequence("(1,2)")
    Sequence(opening='(', closing=')', parts=('1', '2'))
    >>> sequence("1,2").opening, sequence("(x+1)"), sequence("(1,2),(3,4)").opening
    ('', None, '')
    """
    parts = split_at(text, ",", ";")
    if len(parts) > 1:
        parts = [part for part in parts if part]
        return Sequence("", "", tuple(parts)) if 0 < len(parts) <= MAX_PARTS else None
    for opening, closing in _BRACKETS:
        if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening) + len(closing):
            inside = split_at(text[len(opening) : -len(closing)], ",", ";")
            if (len(inside) > 1 or opening == r"\{") and closes_at_end(text) and len(inside) <= MAX_PARTS:
                return Sequence(opening, closing, tuple(inside))
    return None


def closes_at_end(text: str) -> bool:
    """Returns whether the bracket that a text begins with is closed by its last one.

    >>> closes_at_end("(1,2)"), closes_at_end("(1,2)+(3,4)")
    (True, False)
    """
    depth = 0
    for piece in _PIECE.finditer(text):
        depth += (piece[0] in _OPENING) - (piece[0] in _CLOSING)
        if depth == 0:
            return piece.end() == len(text)
    return False


def renamed(text: str, names: dict[str, str]) -> str:
    r"""Returns an expression with other letters for its variables; the names of commands stay.

    >>> renamed(r"2t+\sqrt{t}", {"t": "k"})
    '2k+\\sqrt{k}'
    """
    return re.sub(r"\\[A-Za-z]+|[A-Za-z]", lambda found: names.get(found[0], found[0]), text)
