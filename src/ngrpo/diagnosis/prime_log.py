"""prime-rl's rollouts/step_N/train/all/traces.jsonl: a line per episode, with its traces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ngrpo.diagnosis.log_rows import Log, LogRow
from ngrpo.diagnosis.metric_names import number, text
from ngrpo.tasks.table_rows import TableRow


def has_traces(row: TableRow) -> bool:
    """Returns whether a row is an episode."""
    return isinstance(row.get("traces"), list)


def traces_log(rows: list[TableRow]) -> Log:
    """Returns the log of episodes: `group.id` names the group; an episode that is not `ok` is ungraded."""
    found = []
    for line, row in enumerate(rows, start=1):
        group, task = _table(row.get("group")).get("id"), row.get("task")
        problem = json.dumps(task, sort_keys=True, default=str) if task is not None else str(group)
        for trace in row["traces"] or [{}]:
            told = _table(trace)
            info = _table(told.get("info"))
            step = number(row.get("step")) or number(_table(row.get("run")).get("step")) or 0
            found.append(
                LogRow(
                    line,
                    int(step),
                    str(problem if group is None else group),
                    problem,
                    _reward(told) if row.get("ok", True) else None,
                    text(told.get("completion")),
                    advantage=number(info.get("advantage")),
                    truncated=told.get("is_truncated") if isinstance(told.get("is_truncated"), bool) else None,
                )
            )
    return Log("prime-rl", found)


def _reward(trace: Mapping[str, Any]) -> float | None:
    if (whole := number(trace.get("reward"))) is not None:
        return whole
    parts = [value for part in _table(trace.get("rewards")).values() if (value := number(part)) is not None]
    return sum(parts) if parts else None


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
