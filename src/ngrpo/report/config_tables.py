"""The resolved configs of runs as tables: all settings, and those in which the runs differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ngrpo.report.figure import Cell, Table
from ngrpo.report.reported_run import ReportedRun
from ngrpo.report.visible_text import visible_line

_UNSET = "—"


def config_tables(runs: Sequence[ReportedRun]) -> list[Table]:
    """Returns the table of differences, where there are several runs, and one with every setting."""
    configs = [_settings(run) for run in runs]
    keys = list(dict.fromkeys(key for config in configs for key in config))
    names = [run.name for run in runs]
    tables = []
    if len(runs) > 1:
        different = [
            key for key in keys if key != "started" and len({config.get(key, _UNSET) for config in configs}) > 1
        ]
        notes = [] if different else ["The runs differ in no setting."]
        tables.append(Table("Where the runs differ", ["setting", *names], _rows(different, configs), notes))
    tables.append(Table("All settings, as resolved", ["setting", *names], _rows(keys, configs), folded=True))
    return tables


def flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields dotted keys and values as JSON.

    >>> list(flat({"run": {"steps": 3}, "tags": ["a"]}))
    [('run.steps', '3'), ('tags', '["a"]')]
    """
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from flat(inner, f"{prefix}{key}.")
        else:
            text = inner if isinstance(inner, str) else json.dumps(inner, ensure_ascii=False, default=str)
            yield visible_line(f"{prefix}{key}", 120), visible_line(text, 400)


def _settings(run: ReportedRun) -> dict[str, str]:
    """Returns the settings, then the versions and what else config.json holds."""
    config = run.record.get("config")
    rest = {key: value for key, value in run.record.items() if key != "config"}
    settings = dict(flat(config)) if isinstance(config, dict) else {}
    return settings | dict(flat(rest))


def _rows(keys: Sequence[str], configs: Sequence[Mapping[str, str]]) -> list[list[Cell]]:
    return [
        [Cell(key, number=False), *(Cell(config.get(key, _UNSET), number=False) for config in configs)] for key in keys
    ]
