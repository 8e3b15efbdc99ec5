"""Text of models, files and folders as a page shows it: characters that hide, move or break text are spelled out."""

from __future__ import annotations

import re

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\ufffe\uffff\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Controls (but tab and newline), marks of direction, separators of lines, invisible letters, lone surrogates."""


def visible(text: object, most: int = 0) -> str:
    r"""Returns a text in which nothing is hidden: controls as pictures, other invisible characters as code points.

    A text of more than `most` characters keeps its beginning and its end, where the answer is, and says what was left
    out between them; 0 keeps all.

    >>> visible("a\x1b[31m" + chr(0x202E) + "b\tc")
    'a␛[31m⟨U+202E⟩b\tc'
    >>> visible("0123456789" * 10, 30)
    '01234567890123456789\n[… 70 characters left out …]\n0123456789'
    """
    shown = str(text)
    if 0 < most < len(shown):
        head, tail = most - most // 3, most // 3
        left_out = len(shown) - head - tail
        shown = f"{shown[:head]}\n[… {left_out:,} characters left out …]\n{shown[len(shown) - tail :]}"
    return _HIDDEN.sub(_spelled, shown)


def visible_line(text: object, most: int = 120) -> str:
    r"""Returns a text as one visible line, cut at its end.

    >>> visible_line("a\nb\tc"), visible_line("abcdef", 4)
    ('a␊b␉c', 'abc…')
    """
    whole = str(text)
    cut = whole if len(whole) <= most else whole[: most - 1] + "…"
    return visible(cut).replace("\n", "␊").replace("\t", "␉")


def _spelled(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"
