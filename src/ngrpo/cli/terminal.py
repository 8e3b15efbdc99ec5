"""Text of models and files on a terminal: one line, no control characters, not too long."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun.

    >>> counted(1, "step"), counted(2000, "group")
    ('1 step', '2,000 groups')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shown(text: str | None, most: int) -> str:
    r"""Returns a text fit for a line of a terminal; what cannot be printed is escaped, what is missing a dash.

    >>> shown("a\tb" + chr(27), 10), shown("123456", 5), shown(None, 5)
    ('a\\tb\\x1b', '1234…', '—')
    """
    if text is None:
        return "—"
    escaped = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: most + 1])
    return escaped if len(escaped) <= most else escaped[: most - 1] + "…"
