"""Evaluating a model on a task: n completions per problem, graded, written as they come, then summarised.

The samples are first written beside their final place (`ngrpo.files.partial_path`): a file that bears the name of a
samples file is whole, for Pass@k of its first problems alone would be wrong without looking so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ngrpo.errors import DataError
from ngrpo.evaluation.samples import Counts, append_samples, read_counts, sample_of
from ngrpo.evaluation.summary import Summary, summarize
from ngrpo.files import partial_path
from ngrpo.sampling import Decoding, Prompt, Sampler
from ngrpo.sampling.prompts import encode_prompt
from ngrpo.tasks import Split, Task
from ngrpo.types import Problem, Rollout

_COMPLETIONS_AT_ONCE = 4096
"""Completions between two writes of the samples file: what a killed evaluation can lose."""


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """What is drawn: `samples` completions for each of the first `problems` problems (0: all) of a split."""

    samples: int
    decoding: Decoding
    seed: int
    problems: int = 0
    split: Split = "test"
    round_name: str = "evaluation"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The summary of the samples file, and the sampled tokens' mean negative logprob in nats and mean number.

    When no completion could be graded there is no Pass@k: the summary's `pass_at_k` is empty and its `auc` None.
    """

    summary: Summary
    entropy: float
    mean_tokens: float

    def to_json(self) -> dict[str, Any]:
        """Returns the content of summary.json."""
        return {**self.summary.to_json(), "entropy": self.entropy, "mean_tokens": self.mean_tokens}


def evaluate(
    sampler: Sampler,
    tokenizer: Any,
    task: Task,
    plan: EvaluationPlan,
    samples_path: Path,
    *,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Evaluation:
    """Returns the evaluation of whatever model the sampler draws from.

    A prompt of any length is taken: leaving out a problem would change what is measured. Each completion is drawn
    from its own random stream, so the result does not depend on batch sizes.

    Args:
        sampler: draws the completions.
        tokenizer: encodes the prompts.
        task: problems and grader.
        plan: how many, and from which distribution.
        samples_path: the samples file; what stands there is replaced when all samples are drawn.
        on_progress: called with completions done and their total.

    Raises:
        DataError: when the task has no such problems.
    """
    problems: Sequence[Problem] = task.problems(plan.split)
    if plan.problems:
        problems = [problems[i] for i in range(min(plan.problems, len(problems)))]
    if not len(problems):
        raise DataError(f"task '{task.name}' has no problems in its {plan.split} split")
    partial = partial_path(samples_path)
    partial.unlink(missing_ok=True)
    at_once = max(1, _COMPLETIONS_AT_ONCE // plan.samples)
    logprob_sum, tokens = 0.0, 0
    for start in range(0, len(problems), at_once):
        chunk = [problems[i] for i in range(start, min(start + at_once, len(problems)))]
        prompts = [encode_prompt(task, problem, tokenizer) for problem in chunk]
        rollouts = _graded(sampler, task, prompts, plan)
        append_samples(partial, map(sample_of, rollouts))
        logprob_sum += sum(float(r.completion.logprobs.sum(dtype="float64")) for r in rollouts)
        tokens += sum(len(r.completion.tokens) for r in rollouts)
        on_progress((start + len(chunk)) * plan.samples, len(problems) * plan.samples)
    partial.replace(samples_path)
    return Evaluation(
        summary=_summary(read_counts(samples_path)),
        entropy=-logprob_sum / max(1, tokens) + 0.0,  # 0, not -0, at temperature 0
        mean_tokens=tokens / (len(problems) * plan.samples),
    )


def _graded(sampler: Sampler, task: Task, prompts: Sequence[Prompt], plan: EvaluationPlan) -> list[Rollout]:
    drawn = sampler.sample(prompts, range(plan.samples), plan.decoding, seed=plan.seed, round_name=plan.round_name)
    pairs = [
        (prompt.problem, sample, completion)
        for prompt, completions in zip(prompts, drawn, strict=True)
        for sample, completion in enumerate(completions)
    ]
    grades = task.grade_many([(problem, completion.text) for problem, _, completion in pairs])
    return [
        Rollout(problem, sample, completion, grade)
        for (problem, sample, completion), grade in zip(pairs, grades, strict=True)
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
