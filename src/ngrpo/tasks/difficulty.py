"""How difficult a problem is, as its data set tells: a level, or the share of a model's attempts that were correct."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ngrpo.errors import DataError
from ngrpo.types import Problem

LEVELS = ("level", "difficulty")
"""Keys of a problem's metadata that may hold its level, the first that does."""
SOLVE_RATES = ("solve_rate", "pass_rate", "llama8b_solve_rate", "difficulty")
"""Keys of a problem's metadata that may hold its solve rate; `difficulty` only as a fraction such as "3/8"."""
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?(e-?[0-9]+)?")
_FRACTION = re.compile(r"([0-9]+)\s*/\s*([1-9][0-9]*)")


def level_of(problem: Problem) -> int | None:
    """Returns the whole number in a problem's level, None where it has none (MATH knows a "Level ?").

    >>> level_of(Problem("0", "q", "1", metadata={"level": "Level 5"}))
    5
    >>> level_of(Problem("0", "q", "1", metadata={"difficulty": 6.5})), level_of(Problem("0", "q", "1"))
    (6, None)
    """
    for key in LEVELS:
        text = str(problem.metadata.get(key, ""))
        number = _NUMBER.search(text)
        if number and not _FRACTION.search(text) and not text.lstrip().startswith("-"):
            return int(float(number[0]))
    return None


def solve_rate_of(problem: Problem) -> float | None:
    """Returns the share of attempts at a problem that were correct, in [0, 1]; None where it is not known.

    >>> solve_rate_of(Problem("0", "q", "1", metadata={"llama8b_solve_rate": 0.25}))
    0.25
    >>> solve_rate_of(Problem("0", "q", "1", metadata={"difficulty": "3/8"}))
    0.375
    """
    for key in SOLVE_RATES:
        text = str(problem.metadata.get(key, "")).strip()
        if fraction := _FRACTION.fullmatch(text):
            rate = int(fraction[1]) / int(fraction[2])
        elif key != "difficulty" and _NUMBER.fullmatch(text):
            rate = float(text)
        else:
            continue
        if rate <= 1.0:
            return rate
    return None


def of_difficulty(
    problems: Sequence[Problem], levels: Sequence[int], solve_rate: Sequence[float], where: str
) -> list[Problem]:
    """Returns the problems of one of the levels and with a solve rate in the range, in their order.

    Args:
        problems: all of them.
        levels: empty for any; otherwise problems without a level are left out.
        solve_rate: lowest and highest, both included; empty for any, otherwise problems without one are left out.
        where: the file or data set, for messages.

    Raises:
        DataError: when none is left.
    """
    kept = list(problems)
    if levels:
        kept = [problem for problem in kept if level_of(problem) in levels]
        if not kept:
            raise DataError(f"{where}: no problem has a level among {', '.join(map(str, levels))}")
    if solve_rate:
        low, high = solve_rate
        if not any(solve_rate_of(problem) is not None for problem in kept):
            raise DataError(f"{where}: no problem has a solve rate; looked for: {', '.join(SOLVE_RATES)}")
        kept = [p for p in kept if (rate := solve_rate_of(p)) is not None and low <= rate <= high]
        if not kept:
            raise DataError(f"{where}: no problem has a solve rate from {low:g} to {high:g}")
    return kept
