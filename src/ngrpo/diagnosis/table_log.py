"""Any table with a group and a reward for each completion: CSV, JSON lines, parquet."""

from __future__ import annotations

from collections.abc import Sequence

from ngrpo.diagnosis.log_rows import Log, LogRow
from ngrpo.diagnosis.metric_names import number, text
from ngrpo.tasks.table_rows import TableRow

GROUP = ("group_id", "group", "uid", "problem_id", "prompt_id", "question_id", "problem", "prompt")
REWARD = ("reward", "score", "label", "correct")
COMPLETION, ANSWER = ("completion", "response", "output", "text"), ("answer", "pred")
LENGTH, ADVANTAGE = ("num_tokens", "length"), ("advantage", "advantages")
SECOND = ("second_reward", "second", "acc", "verdict")


def has_rewards(row: TableRow) -> bool:
    """Returns whether a row has a group and a reward."""
    return _first(row, GROUP) is not None and _first(row, REWARD) is not None


def rewards_log(rows: list[TableRow]) -> Log:
    """Returns the log of a table; an empty reward is ungraded."""
    first = rows[0]
    names = {key: _first(first, wanted) for key, wanted in _COLUMNS.items()}

    def cell(row: TableRow, key: str) -> object:
        return None if names[key] is None else row.get(str(names[key]))

    found = []
    for line, row in enumerate(rows, start=1):
        group, tokens = str(cell(row, "group")), number(cell(row, "length"))
        found.append(
            LogRow(
                line,
                int(number(row.get("step")) or 0),
                group,
                group,
                _reward(cell(row, "reward")),
                text(cell(row, "completion")),
                text(row.get("prompt")),
                text(cell(row, "answer")) or None,
                has_answers=names["answer"] is not None,
                reference=text(row.get("reference")),
                advantage=number(cell(row, "advantage")),
                num_tokens=None if tokens is None else int(tokens),
                second=number(cell(row, "second")),
            )
        )
    return Log("table", found)


_COLUMNS = {
    "group": GROUP,
    "reward": REWARD,
    "completion": COMPLETION,
    "answer": ANSWER,
    "length": LENGTH,
    "advantage": ADVANTAGE,
    "second": SECOND,
}


def _reward(value: object) -> float | None:
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return float(value.lower() == "true")
    return number(value)


def _first(row: TableRow, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in row), None)
