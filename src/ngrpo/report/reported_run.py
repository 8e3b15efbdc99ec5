"""A run folder as the report reads it: whatever is there, and in words what is not."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ngrpo.diagnosis.finding import Diagnosed
from ngrpo.errors import ConfigError, DataError, NgrpoError, error_line
from ngrpo.report.evaluations_read import Evaluated, read_evaluations
from ngrpo.report.rollout_scan import RolloutScan, lenient_lines, number, scan_rollouts
from ngrpo.report.step_series import StepGroups, steps_of
from ngrpo.report.visible_text import visible_line
from ngrpo.runs.run_dir import RunDir

NO_SCAN = RolloutScan([], 0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class ReportedRun:
    """One run.

    Args:
        name: short, and no other run's.
        path: its folder.
        record: config.json, empty where it cannot be read.
        metrics: the lines of metrics.jsonl that can be read.
        scan: what rollouts.jsonl holds.
        steps: its groups by step.
        evaluations: of each task, by step.
        findings: what `ngrpo diagnose` finds.
        missing: a line for everything that is missing or damaged.
    """

    name: str
    path: Path
    record: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    scan: RolloutScan
    steps: Mapping[int, StepGroups]
    evaluations: Mapping[str, Sequence[Evaluated]]
    findings: Sequence[Diagnosed]
    missing: Sequence[str]

    def table(self, name: str) -> Mapping[str, Any]:
        """Returns a table of the resolved config, empty where there is none."""
        config = self.record.get("config")
        table = config.get(name) if isinstance(config, dict) else None
        return table if isinstance(table, dict) else {}

    @property
    def method(self) -> str:
        """The method's name, or "unknown"."""
        return visible_line(self.table("method").get("name", "unknown"), 60)

    @property
    def max_reward(self) -> float:
        """The reward from which on a completion is correct."""
        return max_reward_of(self.record)

    @property
    def last_step(self) -> int:
        """The last step in metrics or rollouts, 0 before the first."""
        logged = [int(step) for line in self.metrics if (step := number(line.get("step"))) is not None]
        return max([*logged, *self.steps], default=0)


def max_reward_of(record: Mapping[str, Any]) -> float:
    """Returns the max_reward of a resolved config's method, 1 where there is none."""
    config = record.get("config")
    method = config.get("method") if isinstance(config, dict) else None
    value = number(method.get("max_reward")) if isinstance(method, dict) else None
    return 1.0 if value is None else value


def read_run(path: Path, name: str) -> ReportedRun:
    """Returns a run, whatever of it can be read.

    Raises:
        ConfigError: when the folder is no run's.
    """
    check_is_run(path)
    run, missing = RunDir(path), list[str]()
    record = _record(run, missing)
    metrics = _metrics(run, missing)
    scan = scan_rollouts(run.rollouts_path) if run.rollouts_path.is_file() else NO_SCAN
    if not scan.rollouts:
        missing.append("no rollouts (rollouts.jsonl): no browser of completions, no signs of the gradient")
    if scan.damaged:
        missing.append(f"rollouts.jsonl: {scan.damaged:,} damaged or unfinished lines left out")
    evaluations, notes = read_evaluations(run)
    missing += notes
    if not evaluations:
        missing.append("no complete evaluation yet: no Pass@k ([evaluation] every)")
    steps = steps_of(scan.groups, max_reward_of(record))
    findings = _findings(path, missing)
    return ReportedRun(name, path, record, metrics, scan, steps, evaluations, findings, missing)


def check_is_run(path: Path) -> None:
    """Checks that a folder is a run's: it holds config.json, or metrics or rollouts of one whose config was lost.

    Raises:
        ConfigError: naming what was given.
    """
    if not path.is_dir():
        raise ConfigError(f"{path}: no such folder; a report is of run folders, or of the folder of a study")
    if not any((path / name).is_file() for name in ("config.json", "metrics.jsonl", "rollouts.jsonl")):
        raise ConfigError(f"{path}: neither a run folder (config.json) nor the folder of a study (study.json)")


def run_names(paths: Sequence[Path]) -> list[str]:
    """Returns a short name for each folder: the end of its path that no other has.

    >>> run_names([Path("runs/a"), Path("other/a"), Path("runs/b")])
    ['runs/a', 'other/a', 'b']

    Raises:
        ConfigError: when a folder is given twice.
    """
    parts = [Path(os.path.realpath(path)).parts for path in paths]
    if len({*parts}) < len(parts):
        twice = next(path for place, path in enumerate(paths) if parts.index(parts[place]) != place)
        raise ConfigError(f"{twice} is given twice")
    names = []
    for own in parts:
        length = 1
        while length < len(own) and sum(other[-length:] == own[-length:] for other in parts) > 1:
            length += 1
        names.append("/".join(own[-length:]))
    return names


def _record(run: RunDir, missing: list[str]) -> Mapping[str, Any]:
    try:
        return run.read_config()
    except DataError as error:
        missing.append(f"no resolved config: {error_line(error)}")
        return {}


def _metrics(run: RunDir, missing: list[str]) -> list[Mapping[str, Any]]:
    if not run.metrics_path.is_file():
        missing.append("no metrics yet (metrics.jsonl): no step is finished")
        return []
    rows = [row for _, row in lenient_lines(run.metrics_path)]
    found: list[Mapping[str, Any]] = [r for r in rows if r is not None and number(r.get("step")) is not None]
    if len(found) < len(rows):
        missing.append(f"metrics.jsonl: {len(rows) - len(found):,} damaged or unfinished lines left out")
    if not found:
        missing.append("no metrics yet (metrics.jsonl): no step is finished")
    return found


def _findings(path: Path, missing: list[str]) -> list[Diagnosed]:
    from ngrpo.diagnosis import diagnose, read_log

    try:
        return diagnose(read_log(path)).findings
    except (NgrpoError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        missing.append(f"no diagnosis: {error_line(error)}")
        return []
