"""Logs of ngrpo: a run folder, its rollouts, its metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ngrpo.diagnosis.log_rows import Log, LogRow
from ngrpo.diagnosis.metric_names import number, renamed, text
from ngrpo.tasks.table_rows import TableRow

MATHEMATICAL = ("strict", "math-verify", "reference")
"""Graders whose references the mathematics grader must be able to read."""


def has_rollouts(row: TableRow) -> bool:
    """Returns whether a row is one of rollouts.jsonl, or of a samples file."""
    return {"problem_id", "sample", "status", "reward"} <= row.keys()


def has_metrics(row: TableRow) -> bool:
    """Returns whether a row is one of metrics.jsonl."""
    return {"step", "group/all_wrong"} <= row.keys()


def run_log(path: Path) -> Log:
    """Returns the log of a run folder: rollouts, metrics, and Pass@1 of its evaluations."""
    from ngrpo.diagnosis.log_files import log_of, read_log
    from ngrpo.runs.run_dir import RunDir

    run = RunDir.open(path)
    rows = read_log(run.rollouts_path).rows if run.rollouts_path.is_file() else ()
    metrics = log_of(list(run.read_metrics()), str(run.metrics_path)).metrics if run.metrics_path.is_file() else ()
    verdicts: dict[int, float] = {}
    for summary in run.read_summaries():
        if (value := number(summary.summary.get("pass_at_k", {}).get("1"))) is not None:
            verdicts.setdefault(summary.step, value)
    config: dict[str, Any] = run.read_config().get("config", {})
    task = config.get("task", {})
    grader = next(iter(task.get("graders") or ()), task.get("grader"))
    max_reward = number(config.get("method", {}).get("max_reward")) or 1.0
    return Log("ngrpo", rows, metrics, verdicts, max_reward, mathematical=grader in MATHEMATICAL)


def rollouts_log(rows: list[TableRow]) -> Log:
    """Returns the log of rollouts.jsonl; a group's prompt is on its first line alone."""
    found, prompts = [], dict[tuple[int, str], str | None]()
    for line, row in enumerate(rows, start=1):
        step, problem = int(number(row.get("step")) or 0), str(row.get("problem_id"))
        prompt = prompts.setdefault((step, problem), text(row.get("prompt")))
        finish = row.get("finish_reason")
        tokens = number(row.get("num_tokens"))
        graded = row.get("status") != "ungraded"
        found.append(
            LogRow(
                line,
                step,
                problem,
                problem,
                number(row.get("reward")) if graded else None,
                text(row.get("completion")),
                prompt,
                text(row.get("answer")),
                has_answers="answer" in row,
                reference=text(row.get("reference")),
                advantage=number(row.get("advantage")),
                num_tokens=None if tokens is None else int(tokens),
                truncated=None if finish is None else finish == "length",
                second=number(row.get("second_reward")),
            )
        )
    return Log("ngrpo", found)


def metrics_log(rows: list[TableRow]) -> Log:
    """Returns the log of metrics.jsonl."""
    return Log("ngrpo", metrics=[metrics for row in rows if (metrics := renamed(row))])
