"""References are checked as mathematics only where the run's own grader reads them so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ngrpo.diagnosis import diagnose, read_log


def warned(path: Path) -> bool:
    return "references-never-reached" in {diagnosed.found.name for diagnosed in diagnose(read_log(path)).warnings}


@pytest.fixture
def run(healthy_runs: list[Path], tmp_path: Path) -> Path:
    """A run whose references are no mathematics."""
    folder = shutil.copytree(healthy_runs[0], tmp_path / "run")
    rows = [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]
    lines = [json.dumps({**row, "reference": "1 2 + 3 +"}) for row in rows]
    (folder / "rollouts.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_a_log_without_its_config_may_be_mathematics(run: Path) -> None:
    assert warned(run / "rollouts.jsonl")


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"grader": "exact"}, False),
        ({"grader": "strict"}, True),
        ({"grader": "strict", "graders": {"choice": 1.0, "strict": 0.5}}, False),
        ({}, False),
    ],
)
def test_the_grader_of_the_run_decides(run: Path, task: dict[str, object], expected: bool) -> None:
    record = json.loads((run / "config.json").read_text())
    record["config"]["task"] = {"name": "file:problems.jsonl", **task}
    (run / "config.json").write_text(json.dumps(record))
    assert warned(run) is expected
