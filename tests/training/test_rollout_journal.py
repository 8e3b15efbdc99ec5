"""The journal of a step's completions: whole blocks are taken up bit for bit, torn and foreign lines are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ngrpo.sampling import Decoding, Prompt, Request, Sampler
from ngrpo.training.rollout_journal import JournaledSampler
from ngrpo.types import Completion, Problem

PROMPTS = [Prompt(Problem(f"p{i}", "q", ""), np.arange(1 + i)) for i in range(4)]


class Counting(Sampler):
    """Blocks of four; each completion is decided by its request and the round."""

    def __init__(self, until: int = 1000) -> None:
        self.asked: list[tuple[str, int]] = []
        self._until = until

    def blocks(self, requests: Sequence[Request]) -> list[list[int]]:
        return [list(range(i, min(i + 4, len(requests)))) for i in range(0, len(requests), 4)]

    def stream(
        self, requests: Sequence[Request], decoding: Decoding, *, seed: int, round_name: str
    ) -> Iterator[tuple[int, Completion]]:
        for index, (prompt, sample) in enumerate(requests):
            if len(self.asked) == self._until:
                raise KeyboardInterrupt
            self.asked.append((prompt.problem.id, sample))
            rng = np.random.default_rng([*f"{round_name} {prompt.problem.id}".encode(), sample])
            logprobs = rng.normal(size=3).astype(np.float32)
            yield index, Completion(f"²\ud800{sample}", rng.integers(0, 99, 3), logprobs, "stop")


def sample(sampler: Sampler, round_name: str = "step 2", count: int = 3) -> Any:
    found = sampler.sample(PROMPTS, range(count), Decoding(), seed=0, round_name=round_name)
    return [(c.text, c.tokens.tolist(), c.logprobs.tobytes(), c.finish_reason) for row in found for c in row]


def test_an_interrupted_step_continues_with_what_has_arrived(tmp_path: Path) -> None:
    path, whole = tmp_path / "journal", sample(Counting())
    with pytest.raises(KeyboardInterrupt):
        sample(JournaledSampler(Counting(until=6), path, step=2))
    again = Counting()
    resumed = JournaledSampler(again, path, step=2)
    assert resumed.taken_up == 6
    assert sample(resumed) == whole
    assert len(again.asked) == 8  # the first block of four was whole, the second is sampled again
    assert sample(JournaledSampler(Counting(until=0), path, step=2)) == whole


def test_the_next_round_begins_the_journal_again(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    sampler = JournaledSampler(Counting(), path, step=2)
    sample(sampler)
    assert sample(sampler, "step 3") == sample(Counting(), "step 3")
    assert JournaledSampler(Counting(), path, step=2).taken_up == 0
    assert not path.exists()  # of another step


def test_further_problems_of_the_same_step_are_added(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    sampler = JournaledSampler(Counting(), path, step=2)
    sampler.sample(PROMPTS[:2], range(2), Decoding(), seed=0, round_name="step 2")
    sampler.sample(PROMPTS[2:], range(2), Decoding(), seed=0, round_name="step 2")
    assert JournaledSampler(Counting(), path, step=2).taken_up == 8


@pytest.mark.parametrize("line", [b'{"problem_id": "p0"', b"[]\n", b'{"problem_id": 1, "sample": "x"}\n', b"\xff\n"])
def test_a_bad_line_and_what_follows_are_cut_off(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "journal"
    sample(JournaledSampler(Counting(), path, step=2))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:6]) + line + b"".join(lines[6:]))
    resumed = JournaledSampler(Counting(), path, step=2)
    assert resumed.taken_up == 5
    assert path.read_bytes() == b"".join(lines[:6])
    assert sample(resumed) == sample(Counting())
