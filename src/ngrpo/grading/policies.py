r"""The policies of grading: where the answer stands in a completion, and what decides without a worker process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from ngrpo.grading.equivalence import Verdict, over_limits, settled
from ngrpo.grading.extract import extract_answer
from ngrpo.grading.reference import reference_answer, reference_verdict

PolicyName = Literal["strict", "math-verify", "reference"]


class Policy(NamedTuple):
    """How to find an answer, and how to compare it: None from `settle` leaves a pair to the worker process."""

    extract: Callable[[str], str | None]
    settle: Callable[[str, str], Verdict | None]


POLICIES: Mapping[PolicyName, Policy] = {
    "strict": Policy(extract_answer, settled),
    "math-verify": Policy(extract_answer, over_limits),
    "reference": Policy(reference_answer, reference_verdict),
}
"""`strict` is this project's; the others reproduce math-verify's verdict and that of the NGRPO reference grader."""
