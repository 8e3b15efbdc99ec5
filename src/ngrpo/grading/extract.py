r"""From a completion to the answer inside it: the last complete ``\boxed{...}`` that is not empty."""

from __future__ import annotations

import re

BARE_CHARACTERS = 200
r"""Most characters that an answer after a brace-less ``\boxed`` may have."""

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
# Everything that can open, close or escape a brace; an escaped brace is text, so the escape is consumed as
# one token.
_TOKEN = re.compile(r"(?P<box>\\(?:boxed|fbox)(?![A-Za-z])\s*(?P<open>\{)?)|\\.|[{}]", re.DOTALL)
# `\boxed 5`, `\boxed -\frac{1}{2}$`; words are prose about the command ("the \boxed notation"), not an
# answer.
_BARE = re.compile(r"(?!\\(?:boxed|fbox))(?:[-+.(\[\\]?[0-9\\(]|[A-Za-z](?=\$|\s*\Z))[^\s$]*")
_BLANK = re.compile(r"\s*")


def last_boxed(text: str) -> str | None:
    r"""Returns the content of the last complete box, or None where there is none.

    A box is ``\boxed{...}`` or ``\fbox{...}`` with balanced braces (escaped ones do not count), or ``\boxed
    5`` without braces. Last means: begins last, so that of nested boxes the inner one counts. A box that is
    empty or never closed (a completion cut off) is passed over. One pass, linear in the length of the text.

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
    first = _BOX.search(text)
    if first is None:
        return None
    best = (-1, 0, 0)  # where the box begins, where its content begins and ends
    opened: list[tuple[int, int] | None] = []  # per open brace: where its box and content begin; None: no box
    for token in _TOKEN.finditer(text, first.start()):
        start, end = token.span()
        if token["open"]:
            opened.append((start, end))
        elif token["box"]:
            best = max(best, _bare_box(text, start, end))
        elif text[start] == "{":
            opened.append(None)
        elif text[start] == "}" and opened:
            box = opened.pop()
            if box and box[0] > best[0] and not _BLANK.fullmatch(text, box[1], start):
                best = (*box, start)
    return None if best[0] < 0 else text[best[1] : best[2]].strip()


def _bare_box(text: str, start: int, end: int) -> tuple[int, int, int]:
    bare = _BARE.match(text, end, end + BARE_CHARACTERS)
    if bare is None:
        return (-1, 0, 0)
    return start, end, end + len(bare[0].rstrip(".,;:!?"))


def extract_answer(text: str) -> str | None:
    r"""Returns the final answer of a completion, or None where it declares none: for now its last box.

    Args:
        text: the completion.

    >>> extract_answer(r"Hence $x = \boxed{ 42 }$.")
    '42'
    """
    return last_boxed(text)
