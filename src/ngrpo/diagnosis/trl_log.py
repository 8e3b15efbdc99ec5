"""Logs of TRL: completions/completions_N.parquet, and trainer_state.json."""

from __future__ import annotations

from ngrpo.diagnosis.log_rows import Log, LogRow
from ngrpo.diagnosis.metric_names import number, renamed, text, verdict_of
from ngrpo.tasks.table_rows import TableRow

OWN_COLUMNS = frozenset({"step", "prompt", "completion", "advantage", "images"})


def has_state(row: TableRow) -> bool:
    """Returns whether a row is a whole trainer_state.json."""
    return isinstance(row.get("log_history"), list)


def has_completions(row: TableRow) -> bool:
    """Returns whether a row is one of a parquet of completions."""
    return {"step", "prompt", "completion", "advantage"} <= row.keys()


def state_log(rows: list[TableRow]) -> Log:
    """Returns the log of trainer_state.json."""
    metrics = [found for row in rows[0]["log_history"] if isinstance(row, dict) and (found := renamed(row))]
    verdicts = {int(step["step"]): value for step in metrics if (value := verdict_of(step)) is not None}
    return Log("trl", metrics=metrics, verdicts=verdicts)


def completions_log(rows: list[TableRow]) -> Log:
    """Returns the log of completions.

    A column per reward function holds its rewards: their sum is the reward (TRL's weights are not in the file), and
    with more than one the second is another verdict. Equal prompts that follow one another are a group.
    """
    functions = [name for name in rows[0] if name not in OWN_COLUMNS and _is_numeric(rows, name)]
    found, group, before = [], 0, ""
    for line, row in enumerate(rows, start=1):
        prompt, step = text(row["prompt"]) or "", int(number(row["step"]) or 0)
        if (here := f"{step}\0{prompt}") != before:
            group, before = group + 1, here
        rewards = [value for name in functions if (value := number(row[name])) is not None]
        found.append(
            LogRow(
                line,
                step,
                str(group),
                prompt,
                sum(rewards) if rewards else None,
                text(row["completion"]),
                prompt,
                advantage=number(row["advantage"]),
                second=number(row[functions[1]]) if len(functions) > 1 else None,
            )
        )
    return Log("trl", found, max_reward=float(max(1, len(functions))))


def _is_numeric(rows: list[TableRow], name: str) -> bool:
    values = [row.get(name) for row in rows[:100]]
    return any(number(v) is not None for v in values) and all(v is None or isinstance(v, int | float) for v in values)
