"""Evaluating a model on a task: n completions per problem, graded, written as they come, then summarised.

Samples go into a journal as they come (`ngrpo.evaluation.journal`), from which a killed evaluation resumes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ngrpo.errors import DataError
from ngrpo.evaluation.counts import Counts, read_counts
from ngrpo.evaluation.journal import Journal
from ngrpo.evaluation.samples import sample_of
from ngrpo.evaluation.summary import Summary, summarize
from ngrpo.files import read_json_lines
from ngrpo.sampling import Decoding, Request, Sampler
from ngrpo.sampling.prompts import encode_prompt
from ngrpo.tasks import Split, Task
from ngrpo.types import Completion, Problem, Rollout

if TYPE_CHECKING:
    from ngrpo.config import Config

_COMPLETIONS_AT_ONCE = 512
"""Completions that are graded and written together, unless the seconds below pass first."""
_SECONDS_AT_ONCE = 5.0


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """What is drawn: `samples` completions for each of the first `problems` problems (0: all) of a split."""

    samples: int
    decoding: Decoding
    seed: int
    problems: int = 0
    split: Split = "test"
    round_name: str = "evaluation"

    @classmethod
    def of(cls, config: Config, round_name: str = "evaluation") -> Self:
        """Returns what a config's `[evaluation]` table asks for."""
        settings = config.evaluation
        return cls(
            samples=settings.samples,
            decoding=Decoding(settings.temperature, settings.top_p, settings.max_completion_tokens),
            seed=config.run.seed,
            problems=settings.problems,
            round_name=round_name,
        )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The summary of the samples file, and what its completions are like.

    `entropy` is the mean negative logprob of the sampled tokens in nats, None where the engine did not say them;
    `mean_tokens` their mean number; `truncated` the share of completions that were cut at the limit. When no completion
    could be graded there is no Pass@k: the summary's `pass_at_k` is empty and its `auc` None.
    """

    summary: Summary
    entropy: float | None
    mean_tokens: float
    truncated: float

    def to_json(self) -> dict[str, Any]:
        """Returns the content of summary.json."""
        about = {"entropy": self.entropy, "mean_tokens": self.mean_tokens, "truncated": self.truncated}
        return {**self.summary.to_json(), **about}


def problems_of(task: Task, plan: EvaluationPlan) -> Sequence[Problem]:
    """Returns the problems that a plan asks for.

    Raises:
        DataError: when the task has none.
    """
    problems = task.problems(plan.split)
    if not len(problems):
        raise DataError(f"task '{task.name}' has no {plan.split} problems")
    return problems[: plan.problems] if plan.problems else problems


def evaluate(
    sampler: Sampler,
    tokenizer: Any,
    task: Task,
    plan: EvaluationPlan,
    samples_path: Path,
    *,
    resume: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Evaluation:
    """Returns the evaluation of whatever model the sampler draws from.

    A prompt of any length is taken: leaving out a problem would change what is measured.

    Args:
        sampler: draws the completions.
        tokenizer: encodes the prompts.
        task: problems and grader.
        plan: how many, and from which distribution.
        samples_path: the samples file; what stands there is replaced when all samples are drawn.
        resume: keep the samples that an evaluation of the same record (`ngrpo.evaluation.record`) has already drawn.
        on_progress: called with completions done and their total.

    Raises:
        DataError: when the task has no such problems.
    """
    prompts = [encode_prompt(task, problem, tokenizer) for problem in problems_of(task, plan)]
    requests = [Request(prompt, sample) for prompt in prompts for sample in range(plan.samples)]
    keys = [(request.prompt.problem.id, request.sample) for request in requests]
    journal = Journal(samples_path, resume=resume)
    # Whole blocks, so that what is drawn again comes out the same to the bit (see `Sampler.blocks`).
    blocks = [block for block in sampler.blocks(requests) if not all(keys[i] in journal.done for i in block)]
    missing = [requests[i] for block in blocks for i in block]
    done = len(requests) - len(missing)
    on_progress(done, len(requests))
    drawn = sampler.stream(missing, plan.decoding, seed=plan.seed, round_name=plan.round_name) if missing else iter(())
    for batch in _batches(drawn):
        rollouts = _graded(task, [(missing[i], completion) for i, completion in batch])
        journal.append([sample_of(rollout, seed=plan.seed) for rollout in rollouts])
        done += len(batch)
        on_progress(done, len(requests))
    journal.finish(keys)
    return evaluation_of(samples_path)


def evaluation_of(samples_path: Path) -> Evaluation:
    """Returns the evaluation that a whole samples file of ours tells."""
    tokens, completions, truncated, logprobs = 0, 0, 0, []
    for row in read_json_lines(samples_path):
        tokens, completions = tokens + row["num_tokens"], completions + 1
        truncated += row["finish_reason"] == "length"
        logprobs.append(row["logprob"])
    known = None not in logprobs
    return Evaluation(
        summary=_summary(read_counts(samples_path)),
        entropy=-math.fsum(logprobs) / max(1, tokens) + 0.0 if known else None,  # 0, not -0, at temperature 0
        mean_tokens=tokens / completions,
        truncated=truncated / completions,
    )


def _batches(drawn: Iterator[tuple[int, Completion]]) -> Iterator[list[tuple[int, Completion]]]:
    batch: list[tuple[int, Completion]] = []
    started = time.monotonic()
    for one in drawn:
        batch.append(one)
        if len(batch) >= _COMPLETIONS_AT_ONCE or time.monotonic() - started > _SECONDS_AT_ONCE:
            yield batch
            batch, started = [], time.monotonic()
    if batch:
        yield batch


def _graded(task: Task, drawn: Sequence[tuple[Request, Completion]]) -> list[Rollout]:
    grades = task.grade_many([(request.prompt.problem, completion.text) for request, completion in drawn])
    return [
        Rollout(request.prompt.problem, request.sample, completion, grade)
        for (request, completion), grade in zip(drawn, grades, strict=True)
    ]


def _summary(counts: Counts) -> Summary:
    if counts.n.any():
        return summarize(counts)
    problems, ungraded = len(counts.problem_ids), int(counts.ungraded.sum())
    return Summary(
        problems=problems,
        samples=ungraded,
        samples_per_problem=ungraded // problems,
        ungraded=ungraded,
        ungraded_problems=problems,
        pass_at_k={},
        auc=None,
        auc_max_k=0,
    )
