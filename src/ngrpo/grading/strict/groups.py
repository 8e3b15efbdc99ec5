r"""Rules of spelling about braces: frames, arguments, infix commands."""

from __future__ import annotations

import re

MOST_COMMANDS = 300
"""A text with more fractions and roots is not respelled: no parser here reads so many."""

_UNIT_POWERS = re.compile(r"[A-Za-z\s/]+(?:\^\{?-?[0-9]\}?[A-Za-z\s/]*)+")
_FRAMES = re.compile(
    r"\\(?:underline|boxed|fbox|mathbf|mathrm|mathit|ensuremath|underbar|textcolor\s*\{[^{}]*\}|colorbox\s*\{[^{}]*\})\s*\{"
)
_INFIX = re.compile(r"\\(over|choose)(?![A-Za-z])\s*")
_WITH_ARGUMENTS = re.compile(r"\\(frac|binom|sqrt)(?![A-Za-z])\s*")
_ARGUMENT = re.compile(r"\s*(\{|[0-9A-Za-z]|\\[A-Za-z]+)")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def no_frames(text: str) -> str:
    r"""`\underline{5}`, `\boxed{5}` and `\textcolor{red}{5}` are `5`."""
    for found in reversed(list(_FRAMES.finditer(text))):
        end = closing_brace(text, found.end() - 1)
        inside = text[found.end() : end - 1]
        worded = found[0].startswith((r"\mathbf", r"\mathrm", r"\mathit")) and (
            "{" not in inside or (found.start() > 0 and _UNIT_POWERS.fullmatch(inside) is not None)
        )
        if text[end - 1 : end] == "}" and not worded:
            text = f"{text[: found.start()]}{{{inside}}}{text[end:]}"
    return text


def infix_commands(text: str) -> str:
    r"""`{1 \over 2}` is `\frac{1}{2}`, `{5 \choose 2}` is `\binom{5}{2}`."""
    for _ in range(20):
        found = _INFIX.search(text)
        if found is None:
            break
        begin, end = _group_around(text, found.start())
        name = "frac" if found[1] == "over" else "binom"
        inside = rf"\{name}{{{text[begin : found.start()].strip()}}}{{{text[found.end() : end].strip()}}}"
        text = text[:begin] + inside + text[end:]
    return text


def _group_around(text: str, position: int) -> tuple[int, int]:
    """The content of the innermost braces around a position; of the whole text where there are none."""
    depth, begin = 0, 0
    for found in reversed(list(_BRACE.finditer(text, 0, position))):
        depth += {"{": -1, "}": 1}.get(found[0], 0)
        if depth < 0:
            begin = found.end()
            break
    return (begin, closing_brace(text, begin - 1) - 1) if begin else (0, len(text))


def braced_arguments(text: str) -> str:
    r"""`\frac12` is `\frac{1}{2}`, `\sqrt2` is `\sqrt{2}`."""
    commands = list(_WITH_ARGUMENTS.finditer(text))
    if len(commands) > MOST_COMMANDS:
        return text
    for found in reversed(commands):
        position = found.end()
        if found[1] == "sqrt" and text[position : position + 1] == "[":
            position = text.find("]", position) + 1 or position
        for _ in range(1 if found[1] == "sqrt" else 2):
            text, position = _braced(text, position)
    return text


def _braced(text: str, position: int) -> tuple[str, int]:
    """The text with braces around the argument that begins at a position, and where that ends."""
    argument = _ARGUMENT.match(text, position)
    if argument is None:
        return text, position
    begin, end = argument.span(1)
    if argument[1] == "{":
        return text, closing_brace(text, begin)
    for _ in range({"sqrt": 1, "frac": 2, "binom": 2}.get(argument[1][1:], 0)):
        end = closing_brace(text, end)
    return f"{text[:begin]}{{{text[begin:end]}}}{text[end:]}", end + 2


def closing_brace(text: str, opening: int) -> int:
    """Returns where a group in braces ends (behind its closing brace), the length of the text if it never does."""
    depth = 0
    for found in _BRACE.finditer(text, opening):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth <= 0:
            return found.end()
    return len(text)


def outer_braces(text: str) -> str:
    """A group around everything means nothing: `{5}` is `5`."""
    while text.startswith("{") and text.endswith("}") and closing_brace(text, 0) == len(text):
        text = text[1:-1].strip()
    return text
