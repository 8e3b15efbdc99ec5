r"""The graders of grading: how each finds the answer of a completion, compares it, and reads a reference.

A grader is a name in `GRADERS`, or a custom grader of whole completions, `module:function`, `reasoning-gym` or
`verifiers:NAME`; see `ngrpo.grading.custom_graders`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from ngrpo.errors import ConfigError
from ngrpo.grading.exact_and_choice import choice_answer, choice_fault, choice_grade, exact_answer, exact_grade
from ngrpo.grading.extract import extract_answer
from ngrpo.grading.ngrpo_reference import reference_answer, reference_grade
from ngrpo.grading.references import answer_of_reference
from ngrpo.grading.strict.equivalence import over_limits, quick_grade, settled
from ngrpo.grading.unreachable import reference_fault
from ngrpo.types import Grade

REASONING_GYM = "reasoning-gym"
VERIFIERS = "verifiers:"
"""Beginning of a grader that is a taskset of `verifiers`; the problems' metadata hold its options and a task's data."""
OPTIONS, TASK_DATA = "taskset_options", "task_data"
MATHEMATICAL = ("strict", "math-verify", "reference")
"""The graders that compare mathematics."""

_FUNCTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_.]*")


class Extract(Protocol):
    """Finds the answer of a completion, None where it declares none."""

    def __call__(self, completion: str, markers: Sequence[str] = (), /) -> str | None:
        """Returns the answer; `markers` are texts of the user's that announce one."""


class Grader(NamedTuple):
    """How an answer is found and graded.

    `quick` decides in microseconds, in the caller's process; `settle` with bounded effort, in one that can be killed.
    Each returns None for a pair that it leaves to the next: the last is sympy, whose effort has no bound. `answer_of`
    finds the answer in a reference text.
    """

    extract: Extract
    quick: Callable[[str, str], Grade | None]
    settle: Callable[[str, str], Grade | None]
    fault: Callable[[str], str | None]
    answer_of: Callable[[str], str | None]


def _undecided(_answer: str, _reference: str) -> None:
    return None


def _without_markers(extract: Callable[[str], str | None]) -> Extract:
    return lambda completion, _markers=(), /: extract(completion)


def _empty(reference: str) -> str | None:
    return None if reference.strip() else "the reference is empty"


GRADERS: Mapping[str, Grader] = {
    "strict": Grader(extract_answer, quick_grade, settled, reference_fault, answer_of_reference),
    "math-verify": Grader(extract_answer, over_limits, _undecided, reference_fault, answer_of_reference),
    "reference": Grader(
        _without_markers(reference_answer), _undecided, reference_grade, reference_fault, answer_of_reference
    ),
    "exact": Grader(_without_markers(exact_answer), exact_grade, exact_grade, _empty, str.strip),
    "choice": Grader(choice_answer, choice_grade, choice_grade, choice_fault, answer_of_reference),
}
"""`strict` is this project's; `math-verify` and `reference` reproduce that library's verdict and that of the NGRPO
reference grader; `exact` compares text, `choice` the letters of multiple-choice answers."""


def is_custom(grader: str) -> bool:
    """Returns whether a grader grades whole completions.

    >>> is_custom("my_package.graders:grade"), is_custom("reasoning-gym"), is_custom("strict")
    (True, True, False)
    """
    return grader == REASONING_GYM or grader.startswith(VERIFIERS) or _FUNCTION.fullmatch(grader) is not None


def checked_grader(grader: str) -> str:
    """Returns the grader if it is one.

    Raises:
        ConfigError: for another name; whether a custom grader can be imported shows when a pool starts.
    """
    if grader in GRADERS or is_custom(grader):
        return grader
    raise ConfigError(f"grader must be one of {', '.join(GRADERS)}, {REASONING_GYM} or MODULE:FUNCTION, got {grader!r}")


def scaled(grade: Grade, max_reward: float) -> Grade:
    """Returns the grade of a comparison with the task's best reward in place of 1."""
    return grade if grade.status != "correct" else Grade("correct", max_reward, grade.answer, grade.reason)


def fault_of(reference: str, grader: str) -> str | None:
    """Returns why no answer could be accepted for a reference, or None where one can; a custom grader's is not known.

    >>> fault_of("7", "choice"), fault_of("7", "strict")
    ('a choice is one letter, such as B or (B)', None)
    """
    return GRADERS[grader].fault(reference) if grader in GRADERS else _empty(reference)
