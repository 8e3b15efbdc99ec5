"""One evaluation in a folder of its own: its record, its samples and its summary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ngrpo.errors import GradingError
from ngrpo.evaluation.evaluate import Evaluation, EvaluationPlan, evaluate, evaluation_of, problems_of
from ngrpo.evaluation.journal import journal_path
from ngrpo.evaluation.resume_record import SAMPLES, check_record, model_digest, problems_digest, write_record
from ngrpo.folder_lock import locked_folder
from ngrpo.models.paths import resolve_model_path
from ngrpo.storage import write_json

if TYPE_CHECKING:
    from ngrpo.config import Config

Resume = bool | Literal["retry-refused"]


class Follower(Protocol):
    """Who is told how far an evaluation is."""

    def update(self, done: int, total: int) -> None:
        """`done` of `total` completions are sampled and graded."""

    def message(self, text: str) -> None:
        """Something that a person should know, in one line."""


def run_evaluation(
    config: Config, folder: Path, follower: Follower, *, resume: Resume
) -> tuple[Evaluation, dict[str, Any]]:
    """Evaluates the model of a config in a folder.

    Args:
        config: model, task, sampler and `[evaluation]`.
        folder: for samples.jsonl, evaluation.json and summary.json.
        follower: is told the progress.
        resume: continue the evaluation that the folder holds; "retry-refused" asks again for refused completions.

    Returns:
        The evaluation, and the content of its summary.json.

    Raises:
        ConfigError: for a folder that holds another evaluation, or a model that cannot be loaded.
        DataError: for a task without test problems.
        GradingError: when no completion could be graded; the samples are kept.
        LockedError: when another process writes the folder.
    """
    # All that can be known to be wrong is found before torch is imported.
    plan = EvaluationPlan.of(config)
    record = evaluation_record(config, plan)
    config.task.check_grader()
    check_record(folder, record, resume=bool(resume))
    with locked_folder(folder):
        check_record(folder, record, resume=bool(resume))  # again: another process may have begun or ended meanwhile
        result = evaluation_of(folder / SAMPLES) if (folder / SAMPLES).exists() else None
        if result is None or (resume == "retry-refused" and result.refused):
            result = _sample(config, plan, folder, follower, lambda: write_record(folder, record), resume)
        summary = {**result.to_json(), **record}
        write_json(folder / "summary.json", summary)
    if not result.summary.pass_at_k:
        raise GradingError(f"none of the {result.summary.samples} completions could be graded; they are in {folder}")
    return result, summary


def evaluation_record(config: Config, plan: EvaluationPlan) -> dict[str, Any]:
    """Returns what decides the samples, as plain JSON values; see `ngrpo.evaluation.resume_record`."""
    kind = config.sampling.kind
    sampler: dict[str, Any] = {"name": config.sampling.sampler}
    digest = ""
    if kind.remote:  # a server may come back at another address
        sampler |= {"api": config.endpoint.api, "body": dict(config.endpoint.body)}
    else:
        sampler |= {"dtype": config.model.dtype, "device": config.model.device}
        digest = model_digest(resolve_model_path(config.model.path))
        if config.sampling.keep_special_tokens:
            sampler["keep_special_tokens"] = list(config.sampling.keep_special_tokens)
    if kind.exact_logprobs:
        sampler["max_sequences"] = config.sampling.max_sequences  # the last bits of a logit depend on its batch
    return {
        "model": config.model.path,
        "model_digest": digest,
        "sampler": sampler,
        "task": config.task.name,
        "task_settings": config.task.model_dump(mode="json"),
        "problems_digest": problems_digest(problems_of(config.task, plan)),
        "settings": asdict(plan),
    }


def _sample(
    config: Config, plan: EvaluationPlan, folder: Path, follower: Follower, begin: Callable[[], None], resume: Resume
) -> Evaluation:
    from ngrpo.sampling.samplers import evaluation_sampler

    sampler, tokenizer = evaluation_sampler(config, follower.message)
    begin()
    samples = folder / SAMPLES
    try:
        return evaluate(sampler, tokenizer, config.task, plan, samples, resume=resume, on_progress=follower.update)
    except BaseException:
        journal = journal_path(samples)
        if journal.exists() and journal.stat().st_size:
            follower.message(f"partial results are kept in {folder}; continue with --resume")
        raise
