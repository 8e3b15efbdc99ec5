"""Evaluating a model on a task: n completions per problem, written as they arrive, graded, then summarised.

Completions are written to a journal as they arrive (`ngrpo.evaluation.journal`), from which a killed one resumes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from ngrpo.choices import Split
from ngrpo.errors import DataError
from ngrpo.evaluation.background_grader import BackgroundGrader
from ngrpo.evaluation.journal import Journal, Key
from ngrpo.evaluation.refusals import RefusalWatch, Refused, refused_in
from ngrpo.evaluation.samples.counts import Counts, read_counts
from ngrpo.evaluation.samples.sample import sample_of
from ngrpo.evaluation.statistics.summary import Summary, summarize
from ngrpo.sampling import Decoding, Request, Sampler
from ngrpo.sampling.prompts import encode_prompt
from ngrpo.storage import read_json_lines
from ngrpo.tasks import Task
from ngrpo.types import Completion, Grade, Problem, Rollout

if TYPE_CHECKING:
    from ngrpo.config import Config

_PROGRESS_SECONDS = 0.2
"""Between two calls of `on_progress`."""
_PENDING = Grade("ungraded", 0.0)


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """What is sampled: `samples` completions for each of the first `problems` problems (0: all) of a split."""

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
            decoding=Decoding(
                settings.temperature,
                settings.top_p,
                settings.max_completion_tokens,
                top_k=settings.top_k,
                min_p=settings.min_p,
                stop=config.sampling.stop if settings.stop is None else settings.stop,
                include_stop=config.sampling.include_stop,
            ),
            seed=config.run.seed,
            problems=settings.problems,
            split=settings.split,
            round_name=round_name,
        )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The summary of the samples file, and what its completions are like.

    `entropy` is the mean negative logprob of the sampled tokens in nats, None where the sampler did not say them;
    `mean_tokens` their mean number; `truncated` the share of completions that were cut at the limit; all three are of
    the completions that were not refused. `refused` lists those that a server refused, which are ungraded. When no
    completion could be graded there is no Pass@k: the summary's `pass_at_k` is empty and its `auc` None.
    """

    summary: Summary
    entropy: float | None
    mean_tokens: float
    truncated: float
    refused: tuple[Refused, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns the content of summary.json."""
        about = {"entropy": self.entropy, "mean_tokens": self.mean_tokens, "truncated": self.truncated}
        return {**self.summary.to_json(), **about, "refused": [asdict(one) for one in self.refused]}


def problems_of(task: Task, plan: EvaluationPlan) -> Sequence[Problem]:
    """Returns the problems that a plan asks for.

    Raises:
        DataError: when the task has none.
    """
    problems = task.problems(plan.split)
    if not len(problems):
        raise DataError(f"task '{task.name}' has no {plan.split} problems")
    return problems[: plan.problems] if plan.problems else problems


def requests_of(task: Task, plan: EvaluationPlan, tokenizer: Any) -> list[Request]:
    """Returns every completion that a plan asks for, problem by problem.

    Raises:
        DataError: when the task has no such problems.
    """
    prompts = [encode_prompt(task, problem, tokenizer) for problem in problems_of(task, plan)]
    return [Request(prompt, sample) for prompt in prompts for sample in range(plan.samples)]


def evaluate(
    sampler: Sampler,
    tokenizer: Any,
    task: Task,
    plan: EvaluationPlan,
    samples_path: Path,
    *,
    resume: bool | Literal["retry-refused"] = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Evaluation:
    """Returns the evaluation of whatever model the sampler samples from.

    A prompt of any length is taken: leaving out a problem would change what is measured.

    Args:
        sampler: samples the completions.
        tokenizer: encodes the prompts.
        task: problems and grader.
        plan: how many, and from which distribution.
        samples_path: the samples file; an existing one is replaced when all samples are there.
        resume: keep the samples of an interrupted evaluation of the same record (`ngrpo.evaluation.resume_record`);
            "retry-refused" asks again for the completions that the server has refused.
        on_progress: called with the number of completions that have arrived, and their total.

    Raises:
        DataError: when the task has no such problems.
        ConfigError: when the server refuses every request.
    """
    requests = requests_of(task, plan, tokenizer)
    keys = [(request.prompt.problem.id, request.sample) for request in requests]
    with Journal(samples_path, resume=bool(resume), retry_refused=resume == "retry-refused") as journal:
        # Whole blocks, so that what is sampled again comes out the same to the bit (see `Sampler.blocks`).
        blocks = [block for block in sampler.blocks(requests) if not all(keys[i] in journal.done for i in block)]
        missing = [requests[i] for block in blocks for i in block]
        progress = _Progress(on_progress, len(requests) - len(missing), len(requests))
        problems = {prompt.problem.id: prompt.problem for prompt, _ in requests}
        with BackgroundGrader[Key](task, lambda key: (problems[key[0]], journal.text(key)), journal.graded) as grader:
            resampled = {(request.prompt.problem.id, request.sample) for request in missing}
            for key in journal.ungraded():
                if key not in resampled:
                    grader.submit(key)
            _sample(sampler, missing, plan, (journal, grader), progress)
        journal.finish(keys)
    return evaluation_of(samples_path)


def _sample(
    sampler: Sampler,
    missing: Sequence[Request],
    plan: EvaluationPlan,
    into: tuple[Journal, BackgroundGrader[Key]],
    progress: _Progress,
) -> None:
    """Writes the missing completions to the journal as they arrive, and has them graded."""
    journal, grader = into
    watch = RefusalWatch(answered=journal.answered)

    def write(arrived: Sequence[tuple[int, Completion]]) -> None:
        for index, completion in arrived:
            problem, sample = missing[index].prompt.problem, missing[index].sample
            refused = completion.finish_reason == "refused"
            grade = Grade("ungraded", 0.0, None, completion.refusal) if refused else _PENDING
            line = sample_of(Rollout(problem, sample, completion, grade), seed=plan.seed)
            journal.arrived(line, graded=refused)
            if not refused:
                grader.submit((problem.id, sample))
        progress.add(len(arrived))

    if not missing:
        return
    stream = sampler.stream(missing, plan.decoding, seed=plan.seed, round_name=plan.round_name)
    try:
        for index, completion in stream:
            write(watch.released(index, missing[index].prompt.problem.id, completion))
    finally:
        if isinstance(stream, Generator):  # at once, not when the traceback of an error is gone
            stream.close()
    write(watch.rest())


class _Progress:
    """Counts completions, and tells the number now and then, and at the end."""

    def __init__(self, on_progress: Callable[[int, int], None], done: int, total: int) -> None:
        self._on_progress, self._done, self._total = on_progress, done, total
        self._last = time.monotonic()
        on_progress(done, total)

    def add(self, number: int) -> None:
        """Adds completions."""
        self._done += number
        now = time.monotonic()
        if number and (self._done == self._total or now - self._last >= _PROGRESS_SECONDS):
            self._last = now
            self._on_progress(self._done, self._total)


def evaluation_of(samples_path: Path) -> Evaluation:
    """Returns the evaluation of a complete samples file of ours."""
    tokens, completions, truncated, logprobs = 0, 0, 0, []
    refused = []
    for row in read_json_lines(samples_path):
        if row["finish_reason"] == "refused":
            refused.append(
                {key: row[key] for key in ("problem_id", "finish_reason")} | {"reason": row.get("reason", "")}
            )
            continue
        tokens, completions = tokens + row["num_tokens"], completions + 1
        truncated += row["finish_reason"] == "length"
        logprobs.append(row["logprob"])
    known = None not in logprobs
    return Evaluation(
        summary=_summary(read_counts(samples_path)),
        entropy=-math.fsum(logprobs) / max(1, tokens) + 0.0 if known else None,  # 0, not -0, at temperature 0
        mean_tokens=tokens / max(1, completions),
        truncated=truncated / max(1, completions),
        refused=refused_in(refused),
    )


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
