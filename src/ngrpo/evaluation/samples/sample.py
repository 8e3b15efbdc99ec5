"""Samples files: one line per graded completion. `ngrpo.evaluation.samples.counts` reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ngrpo.types import FinishReason, Rollout, Status


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a samples file; `sample` is the 0-based index among the completions of its problem and seed.

    `logprob` is the sum over the completion's tokens, in nats; None where the sampler did not say it. `reason` is why a
    completion is ungraded; a line of a graded one has no such key.
    """

    problem_id: str
    sample: int
    completion: str
    answer: str | None
    reference: str
    status: Status
    reward: float
    num_tokens: int
    seed: int = 0
    finish_reason: FinishReason = "stop"
    logprob: float | None = None
    reason: str = ""

    def to_line(self) -> dict[str, Any]:
        """Returns the JSON object of the line."""
        # Not `asdict`: its deep copies were a third of an evaluation's time on a small model.
        names = _FIELDS if self.reason else _FIELDS[:-1]
        return {name: getattr(self, name) for name in names}


_FIELDS = tuple(field.name for field in fields(Sample))
"""In the order of the line; `reason` last."""


def sample_of(rollout: Rollout, *, seed: int = 0) -> Sample:
    """Returns the line of a rollout that was sampled with a seed."""
    completion = rollout.completion
    logprob = float(completion.logprobs.sum(dtype=np.float64))
    return Sample(
        problem_id=rollout.problem.id,
        sample=rollout.sample,
        completion=completion.text,
        answer=rollout.grade.answer,
        reference=rollout.problem.reference,
        status=rollout.grade.status,
        reward=rollout.grade.reward,
        num_tokens=len(completion.tokens),
        seed=seed,
        finish_reason=completion.finish_reason,
        logprob=logprob if math.isfinite(logprob) and completion.finish_reason != "refused" else None,
        reason=rollout.grade.reason if rollout.grade.status == "ungraded" else "",
    )
