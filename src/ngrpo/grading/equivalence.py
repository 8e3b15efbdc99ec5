r"""Whether an answer equals a reference: first by spelling and exact numbers, then by math-verify.

`settled_cheaply` decides most pairs in microseconds. `symbolically_equal` does not bound its time or memory,
so only the worker process of `ngrpo.grading.worker` calls it.
"""

from __future__ import annotations

import logging
import re
from typing import Any, NamedTuple

from ngrpo.grading.normalize import exact_number, normalize_answer
from ngrpo.types import Status

MAX_ANSWER_CHARACTERS = 2_000
"""Longer answers are not parsed: no reference of a benchmark has a tenth of it, and parsing is not linear."""

_DIGITS = re.compile(r"[0-9]+")
_DECIMAL = re.compile(r"[0-9]*\.[0-9]*")


class Verdict(NamedTuple):
    """What a comparison found and the rule that decided, or why none could."""

    status: Status
    reason: str


def settled_cheaply(answer: str, reference: str) -> Verdict | None:
    r"""Returns the verdict where spelling, exact numbers or a limit decide, else None.

    An answer over the limit is wrong, for that is a fault of the answer; a reference over it is not the
    answer's fault, so that a pair which it keeps from being compared is ungraded.

    Args:
        answer: what was extracted from a completion.
        reference: the answer to reach, with or without math delimiters.

    >>> settled_cheaply(r"\dfrac{1}{2}", "0.5")
    Verdict(status='correct', reason='number')
    >>> settled_cheaply("x+1", "1+x") is None
    True
    """
    if not reference.strip():
        return Verdict("ungraded", "the reference is empty")
    if answer.strip() == reference.strip():
        return Verdict("correct", "text")
    if len(reference) > MAX_ANSWER_CHARACTERS:
        return Verdict("ungraded", f"limit: the reference has over {MAX_ANSWER_CHARACTERS} characters")
    if len(answer) > MAX_ANSWER_CHARACTERS:
        return Verdict("wrong", f"over {MAX_ANSWER_CHARACTERS} characters")
    spelled, expected = normalize_answer(answer), normalize_answer(reference)
    if spelled == expected:
        return Verdict("correct", "text")
    value, target = exact_number(spelled), exact_number(expected)
    if value is None or target is None:
        return None
    return Verdict("correct" if value == target else "wrong", "number")


def symbolically_equal(answer: str, reference: str) -> bool:
    r"""Returns math-verify's verdict on two answers, both read as the content of a box.

    Call `prepare_math_verify` once before. May run for ever and use any amount of memory.
    """
    from math_verify import verify

    return bool(verify(_parsed(reference), _parsed(answer), timeout_seconds=None))


def prepare_math_verify() -> None:
    """Makes math-verify safe to call in this process, and warm.

    Changes sympy for the whole process: strings are no longer evaluated. sympy turns them into objects with
    Python's `eval`, and math-verify hands it at least every number that the model wrote.
    """
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    logging.getLogger("latex2sympy2_extended").setLevel(logging.CRITICAL)
    # sympy evaluates its own names of units when this module is first imported: before strings are refused.
    import sympy.physics.units  # noqa: F401
    from sympy.parsing import sympy_parser

    sympy_parser.parse_expr = _number_only
    # Nothing is left of the first parse's cost (the grammar's tables) for the first real pair to pay.
    symbolically_equal("x+1", "1+x")


def _parsed(answer: str) -> Any:
    from math_verify import parse
    from math_verify.parser import LatexExtractionConfig

    # Its own timeouts are alarms, which only a main thread may set and which wait for a bytecode's end: off.
    config = [LatexExtractionConfig(boxed_match_priority=0)]
    return parse(rf"\boxed{{{normalize_answer(answer)}}}", config, parsing_timeout=None)


def _number_only(text: str, *_: object, **__: object) -> Any:
    """Stands in for sympy's `parse_expr`: a plain number becomes one, any other text an error."""
    import sympy

    if _DIGITS.fullmatch(text):
        return sympy.Integer(int(text))
    if _DECIMAL.fullmatch(text) and text != ".":
        return sympy.Float(text)
    raise sympy.SympifyError(f"text is not evaluated: {text[:40]!r}")
