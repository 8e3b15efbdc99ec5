"""Record an evaluation in the run folder and notify observers (local and verl runs)."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ngrpo.evaluation.evaluate import Evaluation, EvaluationPlan

if TYPE_CHECKING:
    from ngrpo.runs.observer import Observer
    from ngrpo.runs.run_dir import RunDir
    from ngrpo.tasks import Task


def best_step(run: RunDir) -> int | None:
    """Returns the checkpoint's step with the best mean AUC over the tasks, the earliest of equals; None without one."""
    scores: dict[int, list[float]] = {}
    steps = {step for step, _ in run.checkpoints()}
    for found in run.read_summaries():
        if found.step in steps and found.summary.get("auc") is not None:
            scores.setdefault(found.step, []).append(found.summary["auc"])
    return max(scores, key=lambda step: (sum(scores[step]) / len(scores[step]), -step), default=None)


def record_evaluation(
    run: RunDir, observer: Observer, step: int, task: Task, plan: EvaluationPlan, evaluation: Evaluation
) -> None:
    """Writes eval/STEP/TASK/summary.json and tells the observer."""
    summary = {"step": step, "task": task.name, **evaluation.to_json(), "settings": asdict(plan)}
    run.write_summary(step, task.slug, summary)
    if evaluation.summary.pass_at_k:
        observer.on_evaluation(step, task.slug, summary)
    else:  # no reason to lose a run: the training has its own bound, [run] max_ungraded_share
        observer.on_message(
            f"step {step}: none of the {evaluation.summary.samples} completions for {task.slug} could be graded, so "
            "there is no Pass@k"
        )
