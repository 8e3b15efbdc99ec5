"""Samples files: their lines carry what other tools rely on."""

import numpy as np

from ngrpo.evaluation.samples.sample import Sample, sample_of
from ngrpo.types import Completion, Grade, Problem, Rollout, Status


def sample(problem_id: str = "p", index: int = 0, status: Status = "wrong") -> Sample:
    return Sample(problem_id, index, "3 5 +", "8", "8", status, float(status == "correct"), 4)


def test_a_sample_carries_the_keys_other_tools_rely_on() -> None:
    problem = Problem("amc-3", "2 + 2?", "4")
    completion = Completion("It is\n4²", np.array([5, 6, 7]), np.zeros(3, np.float32), "stop")
    rollout = Rollout(problem, 2, completion, Grade("correct", 1.0, "4"))
    assert sample_of(rollout, seed=7).to_line() == {
        "problem_id": "amc-3",
        "sample": 2,
        "completion": "It is\n4²",
        "answer": "4",
        "reference": "4",
        "status": "correct",
        "reward": 1.0,
        "num_tokens": 3,
        "seed": 7,
        "finish_reason": "stop",
        "logprob": 0.0,
    }
