"""A file or run folder -> `Log`. What it is follows from its rows, not from its name.

Broken lines are no reason to give up on a log: bytes that are not UTF-8 become replacement characters, and a torn or
malformed line is left out; a line may be of any length.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ngrpo.diagnosis import export_log, own_log, prime_log, table_log, trl_log, verl_log
from ngrpo.diagnosis.log_rows import Log
from ngrpo.errors import ConfigError, DataError
from ngrpo.tasks.table_rows import TableRow, read_rows

LINES = (".jsonl", ".ndjson", ".json")


class LogFormat(NamedTuple):
    """A kind of log: whether its first row belongs to it, and what reads all rows."""

    name: str
    recognises: Callable[[TableRow], bool]
    read: Callable[[list[TableRow]], Log]


FORMATS: tuple[LogFormat, ...] = (
    LogFormat("rollouts of ngrpo", own_log.has_rollouts, own_log.rollouts_log),
    LogFormat("metrics of ngrpo", own_log.has_metrics, own_log.metrics_log),
    LogFormat("verl's rollout dump", verl_log.has_dump, verl_log.dump_log),
    LogFormat("verl's metrics", verl_log.has_metrics, verl_log.metrics_log),
    LogFormat("TRL's trainer_state.json", trl_log.has_state, trl_log.state_log),
    LogFormat("TRL's completions", trl_log.has_completions, trl_log.completions_log),
    LogFormat("prime-rl's traces", prime_log.has_traces, prime_log.traces_log),
    LogFormat("a TensorBoard export", export_log.has_scalars, export_log.scalars_log),
    LogFormat("a table of rewards", table_log.has_rewards, table_log.rewards_log),
    LogFormat("a table of metrics", export_log.has_metrics, export_log.metrics_log),
)
"""Every kind of log, the most specific first."""


def read_log(path: Path) -> Log:
    """Returns the log of a file, of a run folder of ours, or of a folder with TRL's or verl's files.

    Raises:
        ConfigError: when there is nothing that can be read.
    """
    if (path / "config.json").is_file():
        return own_log.run_log(path)
    if path.is_dir():
        return _folder_log(path)
    return log_of(_rows_of(path), str(path))


def log_of(rows: list[TableRow], where: str) -> Log:
    """Returns the log of rows, of the first kind that recognises them.

    Raises:
        ConfigError: when no kind does.
    """
    if not rows:
        raise ConfigError(f"{where}: holds no rows")
    for kind in FORMATS:
        if kind.recognises(rows[0]):
            return kind.read(rows)
    known = ", ".join(str(name)[:40] for name in list(rows[0])[:8])
    raise ConfigError(f"{where}: not a log that can be diagnosed (columns: {known}); wanted is a group id and a reward")


def _folder_log(path: Path) -> Log:
    """Returns the joined rows of a folder: TRL's completions/, verl's rollout_data_dir, prime-rl's rollouts/."""
    found = sorted([*path.rglob("*.parquet"), *path.rglob("traces.jsonl")]) or sorted(path.glob("*.jsonl"), key=_number)
    rows: list[TableRow] = []
    for file in found:
        rows += [{"step": _step_of(file), **row} for row in _rows_of(file)]
    return log_of(rows, str(path))


def _number(path: Path) -> tuple[int, str]:
    return (int(path.stem) if path.stem.isdecimal() else 0), path.stem


def _step_of(path: Path) -> int:
    """Returns the step that a folder's name says, as in prime-rl's rollouts/step_3/, else 0."""
    parts = (part.partition("step_")[2] for part in path.parts)
    return next((int(part) for part in parts if part.isdecimal()), 0)


def _rows_of(path: Path) -> list[TableRow]:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file or folder")
    try:
        if path.suffix.lower() in LINES:
            return _lenient_rows(path)
        rows = read_rows(path)
    except (DataError, OSError) as error:
        raise ConfigError(str(error)) from None
    # A scalar export names its metric in the file's name alone.
    return [{"tag": path.stem, **row} for row in rows] if {"Step", "Value"} <= rows[0].keys() else rows


def _lenient_rows(path: Path) -> list[TableRow]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        head = file.read(4096).lstrip()
        file.seek(0)
        if path.suffix.lower() == ".json" or head.startswith("["):
            whole = _parsed(file.read())
            if isinstance(whole, list):
                return [_as_row(item, path) for item in whole if isinstance(item, dict | list)]
            if isinstance(whole, dict):
                return [whole]
            file.seek(0)
        return [row for row in map(_parsed, _lines(file)) if isinstance(row, dict)]


def _lines(file: Any) -> Iterator[str]:
    # Text files split at newlines alone: JSON text may hold the other characters that splitlines() takes.
    return (line for line in file if line.strip())


def _as_row(item: Any, path: Path) -> TableRow:
    """Returns a row of TensorBoard's JSON, [wall time, step, value], as its CSV has it."""
    if isinstance(item, dict):
        return item
    return {"tag": path.stem, "Step": item[1], "Value": item[2]} if len(item) == 3 else {}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
