r"""Whether a reference answer can be reached at all: checked when problems are loaded, before a model is.

Nothing but its own spelling, letter by letter, would be accepted for a reference that is damaged: its groups would be
all-wrong for ever, and NGRPO would push every completion of theirs down. What no rule reads but is sound, words or
mathematics beyond the rules, equals its own spelling and is no fault.
"""

from __future__ import annotations

import re

from ngrpo.grading.strict.brackets import sequence
from ngrpo.grading.strict.equivalence import over_limits
from ngrpo.grading.strict.expression import parse
from ngrpo.grading.strict.identity import is_too_large, is_undefined
from ngrpo.grading.strict.normalize import normalize_answer, readings
from ngrpo.grading.strict.set_reader import read_set

_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BRACKET = re.compile(r"\\begin\{\w+\*?\}|\\end\{\w+\*?\}|\\[{}]|\\[a-zA-Z]+|[()\[\]]")
_OPERATOR = re.compile(
    r"(?:[*/^_=<>]|\\(?:times|cdot|div|le|ge|ne|approx|equiv|pm|in)(?![a-z]))\s*(?:[*/^=<>)\]]|\\(?:times|cdot|div)(?![a-z]))"
    r"|[-+]\s*[*/^=<>)\]]|(?<![\\^_])[(\[]\s*[*/^=<>]|^[*/^_]|(?:[-*/^_=<>+]|\\(?:times|cdot|div|frac|sqrt))$"
)
_SIGNED_LIMIT = re.compile(r"[\^_]\{?[-+*]\}?|\\[lg]e\s*[-+]|-\s*>|=\s*>")


def reference_fault(reference: str) -> str | None:
    r"""Returns why `strict` could accept no answer for a reference but its own spelling, or None where it can read it.

    Args:
        reference: the reference answer, with or without math delimiters.

    >>> reference_fault(r"\frac{1}{2}"), reference_fault(r"336^\circ"), reference_fault("Petya wins.")
    (None, None, None)
    >>> reference_fault(r"\frac{1}{2"), reference_fault("1/0"), reference_fault("2+*3")
    ('its braces do not match', 'it has no value', 'its operators or brackets do not match')
    """
    limit = over_limits("0", reference)
    if limit is not None and limit.status == "ungraded":
        return limit.reason
    if not _balanced(reference):
        return "its braces do not match"
    text = normalize_answer(reference)
    if not text or not re.search(r"\w|\\[a-zA-Z{]|[\u0080-\U0010ffff]", text):
        return "it is empty after normalization"
    if _is_damaged(text):
        return "its operators or brackets do not match"
    if any(is_too_large(part) for part in (text, *re.split("[,=]", text))):
        return "a number in it is too large"
    tree = parse(readings(text)[0])
    if tree is not None and not re.search(r"\\infty|:", text) and is_undefined(tree):
        return "it has no value"
    return None


def _is_damaged(text: str) -> bool:
    """Whether an operator has nothing to work on, or a bracket no partner where no half-open interval explains it."""
    plain = re.sub(r"\\text\{[^{}]*\}", " t ", text)
    if parse(plain) is not None or read_set(text) is not None:
        return False
    if _OPERATOR.search(_SIGNED_LIMIT.sub("", re.sub(r"\\begin\{\w+\}.*\\end\{\w+\}", "m", plain, flags=re.DOTALL))):
        return True
    depth = least = 0
    for found in _BRACKET.finditer(plain):
        depth += _step(found[0])
        least = min(least, depth)
    return (
        (depth != 0 or least < 0)
        and sequence(text) is None
        and not re.search(r"\\begin|[\[\]][^()\[\]]*,[^()\[\]]*[\[\]]", text)
    )


def _step(bracket: str) -> int:
    if bracket.startswith(r"\begin") or bracket in ("(", "[", r"\{", r"\lfloor", r"\lceil", r"\langle"):
        return 1
    if bracket.startswith(r"\end") or bracket in (")", "]", r"\}", r"\rfloor", r"\rceil", r"\rangle"):
        return -1
    return 0


def _balanced(text: str) -> bool:
    depth = 0
    for found in _BRACE.finditer(text):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth < 0:
            return False
    return depth == 0
