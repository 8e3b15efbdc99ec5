"""Logs of verl: dumps of `trainer.rollout_data_dir`, and the metrics of its file logger."""

from __future__ import annotations

from ngrpo.diagnosis.log_rows import Log, LogRow
from ngrpo.diagnosis.metric_names import number, renamed, text, verdict_of
from ngrpo.tasks.table_rows import TableRow


def has_dump(row: TableRow) -> bool:
    """Returns whether a row is one of a dump."""
    return {"input", "output", "score"} <= row.keys()


def has_metrics(row: TableRow) -> bool:
    """Returns whether a row is one of the file logger."""
    return "step" in row and isinstance(row.get("data"), dict)


def dump_log(rows: list[TableRow]) -> Log:
    """Returns the log of a dump.

    A newer trainer writes a `uid`, PROMPT_ROLLOUT_TURN, whose prompt is the group; else equal inputs are one. `acc` is
    a second verdict where the score is something else.
    """
    found = []
    for line, row in enumerate(rows, start=1):
        prompt, reference = text(row["input"]) or "", text(row.get("gts"))
        uid = str(row["uid"]).split("_")[0] if row.get("uid") is not None else f"{prompt}\0{reference}"
        acc, score = number(row.get("acc")), number(row["score"])
        refused = row.get("timeout") is True or bool(row.get("error"))
        found.append(
            LogRow(
                line,
                int(number(row.get("step")) or 0),
                uid,
                f"{prompt}\0{reference}",
                None if refused else score,
                text(row["output"]),
                prompt,
                text(row.get("pred")) or None,
                has_answers="pred" in row,
                reference=reference,
                second=acc,
            )
        )
    return Log("verl", found)


def metrics_log(rows: list[TableRow]) -> Log:
    """Returns the log of the file logger's lines, `{"step": ..., "data": {...}}`; a line without that table is none."""
    tables = [{**row["data"], "step": row.get("step")} for row in rows if isinstance(row.get("data"), dict)]
    metrics = [found for row in tables if (found := renamed(row))]
    verdicts = {int(step["step"]): value for step in metrics if (value := verdict_of(step)) is not None}
    return Log("verl", metrics=metrics, verdicts=verdicts)
