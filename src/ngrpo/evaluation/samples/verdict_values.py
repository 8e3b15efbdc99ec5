"""What cells mean by right and wrong: booleans, 0 and 1, words, and lists of them."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from ngrpo.evaluation.samples.entry import CORRECT, UNGRADED, WRONG

RIGHT_WORDS = {"true", "correct", "right", "pass", "passed", "success", "solved", "resolved", "yes", "c", "1"}
WRONG_WORDS = {"false", "incorrect", "wrong", "fail", "failed", "failure", "unsolved", "unresolved", "no", "i", "0"}
WRONG_WORDS |= {"no_answer", "timeout", "timed out"}
MISSING_WORDS = {"", "null", "none", "nan", "na", "n/a", "<na>", "ungraded"}

_PYTHON = re.compile(r"\b(True|False|None|nan)\b")
_JSON = {"True": "true", "False": "false", "None": "null", "nan": "null"}


def verdict_of(value: object) -> int | None:
    """Returns CORRECT, WRONG, UNGRADED for a missing value, or None for what is no verdict. -1 is wrong, as in rewards.

    >>> verdict_of("C") == verdict_of(1.0) == verdict_of(True) == CORRECT, verdict_of("0.0") == WRONG, verdict_of(0.5)
    (True, True, None)
    """
    if value is None:
        return UNGRADED
    if isinstance(value, str):
        word = value.strip().lower()
        if word in RIGHT_WORDS:
            return CORRECT
        if word in WRONG_WORDS:
            return WRONG
        return UNGRADED if word in MISSING_WORDS else _of_number(_number(word))
    return _of_number(value)


def list_in(value: object) -> list[Any] | None:
    """Returns a list of verdicts that is a cell, as a list or as the text of one; None for any other value.

    >>> list_in("[True, False]"), list_in([1, 0]), list_in("1")
    ([True, False], [1, 0], None)
    """
    if isinstance(value, list):
        return value
    if not (isinstance(value, str) and value.lstrip().startswith("[")):
        return None
    try:
        parsed = json.loads(_PYTHON.sub(lambda word: _JSON[word[0]], value.replace("'", '"')))
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, list) else None


def whole_number(value: object) -> int | None:
    """Returns a whole number from 0 below 2^63, also from its digits or a float; None for anything else."""
    if isinstance(value, str):
        text = value.strip()
        value = int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    return value if known else None  # type: ignore[return-value]


def _of_number(value: object) -> int | None:
    if not isinstance(value, int | float):
        return None
    if isinstance(value, float) and math.isnan(value):  # an integer may be too large for a float
        return UNGRADED
    return CORRECT if value == 1 else WRONG if value in (0, -1) else None


def _number(word: str) -> float | None:
    if len(word) > 24 or "_" in word:
        return None
    try:
        return float(word)
    except ValueError:
        return None
