"""Exports of trackers: TensorBoard's scalars (CSV, JSON) and wandb's history (CSV, JSON lines)."""

from __future__ import annotations

from ngrpo.diagnosis.log_rows import Kind, Log
from ngrpo.diagnosis.metric_names import STEPS, number, renamed, verdict_of
from ngrpo.tasks.table_rows import TableRow


def has_scalars(row: TableRow) -> bool:
    """Returns whether a row is one of TensorBoard's, with step and value of one metric."""
    return {"tag", "Step", "Value"} <= row.keys()


def has_metrics(row: TableRow) -> bool:
    """Returns whether a row has a step, and numbers beside it."""
    return any(key in row for key in STEPS) and sum(number(value) is not None for value in row.values()) > 1


def scalars_log(rows: list[TableRow]) -> Log:
    """Returns the log of TensorBoard's scalars; the tag is in the file's name, where `/` has become `_`."""
    steps: dict[float, dict[str, float]] = {}
    for row in rows:
        step, value = number(row["Step"]), number(row["Value"])
        if step is not None and value is not None:
            steps.setdefault(step, {"step": step})[_tag(str(row["tag"]))] = value
    return metrics_log([dict(row) for _, row in sorted(steps.items())])


def _tag(name: str) -> str:
    """Returns a metric's name of a file's: the part after `tag-`, its first `_` a `/` where that names an area."""
    tag = name.rpartition("tag-")[2]
    area, _, rest = tag.partition("_")
    return f"{area}/{rest}" if rest and area in {"actor", "critic", "policy", "reward", "completion", "train"} else tag


def metrics_log(rows: list[TableRow]) -> Log:
    """Returns the log of rows with a step and metrics of any tool."""
    metrics = [found for row in rows if (found := renamed(row))]
    verdicts = {int(step["step"]): value for step in metrics if (value := verdict_of(step)) is not None}
    names = set().union(*metrics)
    kind: Kind = "table"
    if any(name.startswith("actor/") for name in names):
        kind = "verl"
    elif "completions/mean_length" in names or "frac_reward_zero_std" in names:
        kind = "trl"
    return Log(kind, metrics=metrics, verdicts=verdicts)
