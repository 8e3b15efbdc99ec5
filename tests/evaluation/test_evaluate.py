from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from ngrpo.choices import Split
from ngrpo.errors import DataError
from ngrpo.evaluation.evaluate import EvaluationPlan, evaluate
from ngrpo.evaluation.journal import journal_path
from ngrpo.evaluation.samples.counts import read_counts
from ngrpo.sampling import Decoding, Request, Sampler
from ngrpo.tasks.task import Task
from ngrpo.types import Completion, Grade, Problem


class Scripted(Task):
    """Problem i is solved by its first `solved[i]` samples; the last `ungraded[i]` ones cannot be graded."""

    label: ClassVar[str] = "scripted"
    name: str = "scripted"
    solved: tuple[int, ...] = ()
    ungraded: tuple[int, ...] = ()
    samples: int = 4

    def load_problems(self, split: Split) -> list[Problem]:
        return [Problem(f"{split}-{i}", "x " * (i + 1), "ref", metadata={"i": i}) for i in range(len(self.solved))]

    def grade_many(self, answers: Sequence[tuple[Problem, str]]) -> list[Grade]:
        return [self._grade(problem.metadata["i"], int(text)) for problem, text in answers]

    def _grade(self, i: int, sample: int) -> Grade:
        if self.ungraded and sample >= self.samples - self.ungraded[i]:
            return Grade("ungraded", 0.0, None, "time limit")
        return Grade("correct", 1.0, "yes") if sample < self.solved[i] else Grade("wrong", 0.0, "no")


class Scripts(Sampler):
    """The text is the sample index; a completion has 2 tokens of logprob -0.25. Blocks of `block`; dies after some."""

    def __init__(self, *, block: int = 3, dies_after: int = 10**9, newest_first: bool = False) -> None:
        self.calls: list[dict[str, Any]] = []
        self.sampled: list[tuple[str, int]] = []
        self.block, self.dies_after, self.newest_first = block, dies_after, newest_first

    def blocks(self, requests: Sequence[Request]) -> list[list[int]]:
        order = sorted(range(len(requests)), key=lambda i: _key(requests[i]), reverse=self.newest_first)
        return [order[i : i + self.block] for i in range(0, len(order), self.block)]

    def stream(
        self, requests: Sequence[Request], decoding: Decoding, *, seed: int, round_name: str
    ) -> Iterator[tuple[int, Completion]]:
        self.calls.append({"requests": requests, "decoding": decoding, "seed": seed, "round_name": round_name})
        logprobs = np.full(2, -0.25, dtype=np.float32)
        for index in (i for block in self.blocks(requests) for i in block):
            if len(self.sampled) == self.dies_after:
                raise KeyboardInterrupt
            prompt, sample = requests[index]
            self.sampled.append((prompt.problem.id, sample))
            yield index, Completion(str(sample), np.ones(2, dtype=np.int64), logprobs, "stop")


def _key(request: Request) -> tuple[str, int]:
    return request.prompt.problem.id, request.sample


class Words:
    chat_template = None
    eos_token_id = None

    def encode(self, text: str) -> list[int]:
        return [1] * len(text.split())


PLAN = EvaluationPlan(samples=4, decoding=Decoding(0.6, 0.95, 32), seed=3, round_name="evaluation 7")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_summary_is_that_of_the_samples_file(tmp_path: Path) -> None:
    path, sampler, seen = tmp_path / "samples.jsonl", Scripts(), []
    result = evaluate(
        sampler,
        Words(),
        Scripted(solved=(0, 1, 4)),
        PLAN,
        path,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert result.summary.pass_at_k == {1: pytest.approx(5 / 12), 2: pytest.approx((0 + 0.5 + 1) / 3), 4: 2 / 3}
    assert result.entropy == pytest.approx(0.25)
    assert result.mean_tokens == 2.0
    rows = lines(path)
    assert [(row["problem_id"], row["sample"]) for row in rows] == [
        (f"test-{i}", j) for i in range(3) for j in range(4)
    ]
    assert rows[4] == {
        "problem_id": "test-1",
        "sample": 0,
        "completion": "0",
        "answer": "yes",
        "reference": "ref",
        "status": "correct",
        "reward": 1.0,
        "num_tokens": 2,
        "seed": 3,
        "finish_reason": "stop",
        "logprob": -0.5,
    }
    assert seen[-1] == (12, 12)
    assert sampler.calls[0]["seed"] == 3
    assert sampler.calls[0]["round_name"] == "evaluation 7"
    assert sampler.calls[0]["decoding"] == PLAN.decoding
    saved = result.to_json()
    assert saved["pass_at_k"]["4"] == pytest.approx(2 / 3)
    assert saved["entropy"] == pytest.approx(0.25)


def test_only_the_first_problems_of_the_split_are_taken(tmp_path: Path) -> None:
    plan = EvaluationPlan(samples=4, decoding=Decoding(), seed=0, problems=2, split="train")
    evaluate(Scripts(), Words(), Scripted(solved=(0, 1, 4)), plan, tmp_path / "s.jsonl")
    assert {row["problem_id"] for row in lines(tmp_path / "s.jsonl")} == {"train-0", "train-1"}
    more = EvaluationPlan(samples=4, decoding=Decoding(), seed=0, problems=99)
    assert evaluate(Scripts(), Words(), Scripted(solved=(1,)), more, tmp_path / "s.jsonl").summary.problems == 1


def test_long_prompts_are_not_left_out(tmp_path: Path) -> None:
    sampler = Scripts()
    evaluate(sampler, Words(), Scripted(solved=(0,) * 50), PLAN, tmp_path / "s.jsonl")
    assert max(len(request.prompt.tokens) for request in sampler.calls[0]["requests"]) == 50


def test_samples_are_written_as_they_come_and_end_in_the_order_of_the_problems(tmp_path: Path) -> None:
    task, seen = Scripted(solved=(0, 1, 2, 3, 4)), []
    whole = tmp_path / "whole.jsonl"
    evaluate(Scripts(), Words(), task, PLAN, whole)
    path = tmp_path / "s.jsonl"
    sampler = Scripts(newest_first=True)
    evaluate(sampler, Words(), task, PLAN, path, on_progress=lambda done, total: seen.append((done, total)))
    assert (seen[0], seen[-1], seen) == ((0, 20), (20, 20), sorted(seen))
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("dies_after", [0, 1, 7, 8, 9, 19, 20])
def test_a_killed_evaluation_resumes_to_the_same_bytes(tmp_path: Path, dies_after: int, newest_first: bool) -> None:
    task, path, whole = Scripted(solved=(0, 1, 2, 3, 4)), tmp_path / "s.jsonl", tmp_path / "whole.jsonl"
    undisturbed = evaluate(Scripts(newest_first=newest_first), Words(), task, PLAN, whole)
    first = Scripts(dies_after=dies_after, newest_first=newest_first)
    if dies_after < 20:
        with pytest.raises(KeyboardInterrupt):
            evaluate(first, Words(), task, PLAN, path)
        assert not path.exists()
        with journal_path(path).open("ab") as file:
            file.write(b'{"problem_id": "test-4", "sam')  # what a kill leaves in the middle of a write
    second = Scripts(newest_first=newest_first)
    resumed = evaluate(second, Words(), task, PLAN, path, resume=True)
    assert path.read_bytes() == whole.read_bytes()
    assert resumed == undisturbed
    assert not journal_path(path).exists()
    written = dies_after if dies_after < 20 else 0
    assert len(second.sampled) == 20 - written // 3 * 3  # whole blocks of 3 are not sampled again


def test_without_resume_it_starts_over(tmp_path: Path) -> None:
    task, path = Scripted(solved=(0, 1)), tmp_path / "s.jsonl"
    with pytest.raises(KeyboardInterrupt):
        evaluate(Scripts(dies_after=5), Words(), task, PLAN, path)
    again = Scripts()
    evaluate(again, Words(), task, PLAN, path)
    assert len(again.sampled) == 8


def test_a_journal_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    journal_path(path).write_text('{"hello": 1}\n')
    with pytest.raises(DataError, match="line 1: not a line of an evaluation; remove the file to start over"):
        evaluate(Scripts(), Words(), Scripted(solved=(0, 1)), PLAN, path, resume=True)


def test_ungraded_completions_leave_pass_at_k(tmp_path: Path) -> None:
    task = Scripted(solved=(1, 2), ungraded=(0, 2))
    summary = evaluate(Scripts(), Words(), task, PLAN, tmp_path / "s.jsonl").summary
    assert summary.pass_at_k[1] == pytest.approx((1 / 4 + 2 / 2) / 2)
    assert (summary.ungraded, summary.ungraded_problems) == (2, 0)


def test_when_nothing_could_be_graded_there_is_no_pass_at_k_but_the_counts(tmp_path: Path) -> None:
    result = evaluate(Scripts(), Words(), Scripted(solved=(1, 2), ungraded=(4, 4)), PLAN, tmp_path / "s.jsonl")
    saved = result.to_json()
    assert (saved["problems"], saved["samples"], saved["ungraded"], saved["ungraded_problems"]) == (2, 8, 8, 2)
    assert (saved["pass_at_k"], saved["auc"], saved["auc_max_k"]) == ({}, None, 0)
    assert (saved["entropy"], saved["mean_tokens"], saved["truncated"]) == (pytest.approx(0.25), 2.0, 0.0)


def test_a_samples_file_is_whole_or_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    evaluate(Scripts(), Words(), Scripted(solved=(4,)), PLAN, path)
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        evaluate(Scripts(dies_after=9), Words(), Scripted(solved=(0, 0, 0)), PLAN, path)
    assert path.read_bytes() == before
    assert len([row for row in lines(journal_path(path)) if "completion" in row]) == 9
    evaluate(Scripts(), Words(), Scripted(solved=(0, 0, 0)), PLAN, path)
    assert read_counts(path).n.tolist() == [4, 4, 4]


def test_a_split_without_problems_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="task 'scripted' has no test problems"):
        evaluate(Scripts(), Words(), Scripted(), PLAN, tmp_path / "s.jsonl")


def test_the_shipped_model_on_its_own_task(tmp_path: Path, countdown_model: Any) -> None:
    from ngrpo.sampling.transformers_sampler import TransformersSampler
    from ngrpo.tasks import load_task

    plan = EvaluationPlan(samples=8, decoding=Decoding(1.0, 1.0, 8), seed=0, problems=32)
    task = load_task({"name": "countdown"})
    sampler = TransformersSampler(countdown_model)
    results = [evaluate(sampler, countdown_model.tokenizer, task, plan, tmp_path / f"{i}.jsonl") for i in range(2)]
    assert results[0] == results[1]
    assert (tmp_path / "0.jsonl").read_bytes() == (tmp_path / "1.jsonl").read_bytes()
    curve = results[0].summary.pass_at_k
    assert 0.0 < curve[1] < curve[2] < curve[4] < curve[8] < 1.0
    assert 0.2 < results[0].entropy < 2.0
    likeliest = EvaluationPlan(samples=1, decoding=Decoding(0.0, 1.0, 8), seed=0, problems=8)
    assert evaluate(sampler, countdown_model.tokenizer, task, likeliest, tmp_path / "g.jsonl").entropy == 0.0
