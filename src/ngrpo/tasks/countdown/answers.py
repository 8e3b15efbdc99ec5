"""Countdown answers: the expression in a completion, and the rule that it breaks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from ngrpo.tasks.countdown.expressions import Expression, numbers_in, plain_operators, value_of

_ANSWER_WINDOW = 1_000
_TAIL_WINDOW = 20_000
_DIGIT = re.compile("[0-9]")
_HAS_OPERATION = re.compile(r"[0-9)}]\s*(?:[-+*/×÷−·]|\\times|\\div|\\cdot)\s*[0-9({\\]|\\[dt]?frac")


def find_postfix(text: str) -> str:
    """Returns the whole text, trimmed, or "" when it holds no number."""
    return text.strip() if _DIGIT.search(text) else ""


def find_infix(text: str) -> str:
    r"""Returns the expression that an infix answer states, or "" when there is none.

    It is the content of the last `\boxed{}`, else of the last `<answer></answer>`, else the last line with an
    operation, without a label before a colon. A box or tag that is never closed states nothing.

    >>> find_infix(r"First 2 * 9 = 18, so \boxed{2 * 9 + 7}.")
    '2 * 9 + 7'
    >>> find_infix("I think\nAnswer: 2 * 9 + 7 = 25.\nDone")
    '2 * 9 + 7 = 25'
    """
    box = text.rfind("\\boxed{")
    if box >= 0:
        return _braced(text[box + len("\\boxed{") :][:_ANSWER_WINDOW])
    tag = text.rfind("<answer>")
    if tag >= 0:
        content, closed, _ = text[tag + len("<answer>") :][:_ANSWER_WINDOW].partition("</answer>")
        return content.strip() if closed else ""
    for line in reversed(text[-_TAIL_WINDOW:].splitlines()):
        if _HAS_OPERATION.search(line):
            return line.rpartition(":")[2].strip(" \t.$`*")
    return ""


def _braced(text: str) -> str:
    depth = 1
    for position, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return text[:position].strip()
    return ""


def expression_part(answer: str, target: int) -> str:
    """Returns an infix answer without the "= target" behind it."""
    plain = plain_operators(answer).strip(" \t\n$.")
    expression, equals, stated = plain.rpartition("=")
    return expression if equals and stated.strip() == str(target) else plain


def fault_of(expression: Expression, numbers: Sequence[int], target: int) -> str:
    """Returns the rule that an expression breaks, "" for none: each number once, and the target as its value."""
    given, used = Counter(numbers), Counter(numbers_in(expression))
    for number in used:
        if number not in given:
            return f"uses {number}, which is not given"
        if used[number] > given[number]:
            return f"uses {number} {'twice' if used[number] == 2 else f'{used[number]} times'}"
    for number in given:
        if used[number] < given[number]:
            return f"does not use {number}" + (" often enough" if used[number] else "")
    value = value_of(expression)
    return "" if value == target else f"value {value} != {target}"
