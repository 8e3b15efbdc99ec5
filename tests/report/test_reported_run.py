"""Damaged and partial runs still make a page, which says what is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ngrpo.errors import ConfigError
from ngrpo.report import page_of
from ngrpo.report.report_html import page_html
from ngrpo.report.reported_run import read_run, run_names


def without(*names: str) -> Callable[[Path], None]:
    def remove(run: Path) -> None:
        for name in names:
            path = run / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    return remove


def written(name: str, text: bytes) -> Callable[[Path], None]:
    return lambda run: (run / name).write_bytes(text) and None


def one_step(run: Path) -> None:
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        lines = (run / name).read_bytes().splitlines(keepends=True)
        (run / name).write_bytes(b"".join(line for line in lines if b'"step": 1,' in line))
    for step in ("000002", "000003"):
        shutil.rmtree(run / "eval" / step)


def garbled(run: Path) -> None:
    path = run / "metrics.jsonl"
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b"\x00\xff garbage\n" + b"".join(rest) + b'{"step": 4, "rew')


DAMAGES = {
    "no metrics": (without("metrics.jsonl"), "no metrics yet"),
    "no rollouts": (without("rollouts.jsonl"), "no rollouts"),
    "no evaluation": (without("eval"), "no complete evaluation yet"),
    "no config": (without("config.json"), "no resolved config"),
    "config alone": (without("metrics.jsonl", "rollouts.jsonl", "eval"), "no metrics yet"),
    "config is no JSON": (written("config.json", b"{"), "no resolved config"),
    "config of other types": (
        written("config.json", b'{"config": {"method": 3, "run": {"steps": "x"}}}'),
        "(unknown), 3 steps",
    ),
    "garbled metrics": (garbled, "metrics.jsonl: 2 damaged or unfinished lines left out"),
    "empty rollouts": (written("rollouts.jsonl", b""), "no rollouts"),
    "binary rollouts": (written("rollouts.jsonl", bytes(range(256)) * 40), "no rollouts"),
    "empty samples": (written("eval/000003/countdown/samples.jsonl", b""), "samples.jsonl"),
    "summary is no JSON": (written("eval/000003/countdown/summary.json", b"[]"), "summary.json"),
    "one step": (one_step, "1 of 3 steps"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_makes_a_page_that_says_so(damage: str, two_runs: list[Path], tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(two_runs[0], run, ignore=shutil.ignore_patterns("checkpoints"))
    break_it, said = DAMAGES[damage]
    break_it(run)
    page = page_of([run])
    assert said in page_html(page)
    assert page.sections[0].slug == "runs"


def test_a_damaged_run_beside_a_whole_one(two_runs: list[Path], tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(two_runs[0], run, ignore=shutil.ignore_patterns("checkpoints"))
    without("metrics.jsonl", "rollouts.jsonl", "eval")(run)
    page = page_of([run, two_runs[1]])
    assert "run (ngrpo), 0 of 3 steps; grpo, 3 steps" in page.summary[0]


def test_a_run_that_its_limit_ended_has_all_its_steps(two_runs: list[Path], tmp_path: Path):
    run = tmp_path / "run"
    shutil.copytree(two_runs[0], run, ignore=shutil.ignore_patterns("checkpoints"))
    record = json.loads((run / "config.json").read_text())
    record["config"]["run"] |= {"steps": 9, "max_rollouts": 3 * 8 * 8}
    (run / "config.json").write_text(json.dumps(record))
    assert "run (ngrpo), 3 steps" in page_of([run]).summary[0]
    record["config"]["run"]["max_rollouts"] += 1
    (run / "config.json").write_text(json.dumps(record))
    assert "run (ngrpo), 3 of 9 steps" in page_of([run]).summary[0]


def test_every_step_of_a_run_is_read(two_runs: list[Path]):
    run = read_run(two_runs[0], "a")
    assert run.missing == []
    assert (run.method, run.last_step, run.scan.rollouts, run.max_reward) == ("ngrpo", 3, 3 * 8 * 8, 1.0)
    assert [one.step for one in run.evaluations["countdown"]] == [0, 2, 3]
    summary = json.loads((two_runs[0] / "eval/000003/countdown/summary.json").read_text())
    assert run.evaluations["countdown"][-1].auc == summary["auc"]


def test_folders_that_are_no_runs_are_one_line(tmp_path: Path, two_runs: list[Path]):
    with pytest.raises(ConfigError, match="neither a run folder"):
        page_of([tmp_path])
    with pytest.raises(ConfigError, match="no such folder"):
        page_of([tmp_path / "nothing"])
    with pytest.raises(ConfigError, match="is given twice"):
        page_of([two_runs[0], two_runs[0]])
    with pytest.raises(ConfigError, match="1 to 12 runs, got 13"):
        page_of([tmp_path / str(at) for at in range(13)])


def test_names_tell_runs_apart(tmp_path: Path):
    paths = [tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "b" / "other"]
    for path in paths:
        path.mkdir(parents=True)
    assert run_names(paths) == ["a/run", "b/run", "other"]
