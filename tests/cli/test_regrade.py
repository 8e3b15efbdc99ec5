"""`ngrpo regrade`: stored completions by another grader; what it shows is what a fresh evaluation would say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import TINY

CONFIG = Path(__file__).parents[2] / "configs" / "countdown" / "ngrpo.toml"


def samples(folder: Path) -> Path:
    """Two problems with two completions each; the stored grades are those of the reference's grader."""
    rows = [
        ("0", 0, r"\boxed{1}", "100", "correct"),
        ("0", 1, r"\boxed{100}", "100", "correct"),
        ("1", 0, r"\boxed{7}", r"\frac{14}{2}", "ungraded"),
        ("1", 1, "none", r"\frac{14}{2}", "no_answer"),
    ]
    keys = ("problem_id", "sample", "completion", "reference", "status")
    folder.mkdir()
    path = folder / "samples.jsonl"
    path.write_text("".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows))
    return path


def test_a_samples_file_before_and_now(run: Any, tmp_path: Path) -> None:
    path = samples(tmp_path / "eval")
    found = json.loads(run("regrade", path, "--task", "math", "--list", "--json").out)["files"]["samples.jsonl"]
    assert (found["before"], found["changed"]) == ({"correct": 2, "ungraded": 1, "no_answer": 1}, 2)
    assert found["after"] == {"wrong": 1, "correct": 2, "no_answer": 1}
    assert found["pass_at_k"]["before"]["pass_at_k"]["1"] == 0.5  # of the graded ones: 2 of 2 and 0 of 1
    assert found["pass_at_k"]["now"]["pass_at_k"] == {"1": 0.5, "2": 1.0}
    assert [(c["problem_id"], c["before"], c["after"]) for c in found["changes"]] == [
        ("0", "correct", "wrong"),
        ("1", "ungraded", "correct"),
    ]
    shown = run("regrade", path, "--task", "math", "--list").out
    assert "2 of 4 completions change: correct 2 -> 2, wrong 0 -> 1" in shown
    assert "problem 0, sample 0: reference 100, answer 1: correct -> wrong (number)" in shown


def test_what_ngrpo_eval_wrote_knows_its_task_and_settings(run: Any, tmp_path: Path) -> None:
    path = samples(tmp_path / "eval")
    settings = {"name": "math", "grader": "reference"}
    (path.parent / "summary.json").write_text(json.dumps({"task": "math", "task_settings": settings}))
    found = json.loads(run("regrade", path.parent, "--json").out)["files"]["samples.jsonl"]
    assert found["after"]["correct"] == 3
    out = tmp_path / "again"
    assert run("regrade", path.parent, "--grader", "strict", "--out", out).status == 0
    lines = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert [(line["status"], line["reward"]) for line in lines][:2] == [("wrong", 0.0), ("correct", 1.0)]
    assert json.loads(run("passk", out / "samples.jsonl", "--json").out)["pass_at_k"]["1"] == 0.5


def test_a_run_has_its_evaluations_and_rollouts_graded_as_they_were(run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    once = ("--set", "run.steps=1", "--set", "evaluation.every=1")
    assert run("train", CONFIG, *TINY, *once, "--out", folder).status == 0
    files = json.loads(run("regrade", folder, "--json").out)["files"]
    assert list(files) == [
        "eval/000000/countdown/samples.jsonl", "eval/000001/countdown/samples.jsonl", "rollouts.jsonl",
    ]  # fmt: skip
    assert {file["changed"] for file in files.values()} == {0}
    # A grade that is wrong in the file is found.
    rollouts = folder / "rollouts.jsonl"
    lines = [json.loads(line) for line in rollouts.read_text().splitlines()]
    lines[0] |= {"status": "ungraded", "reward": 0.5, "advantage": 1.0}
    rollouts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run("regrade", folder, "--out", tmp_path / "out").status == 0
    mended = json.loads((tmp_path / "out" / "rollouts.jsonl").read_text().splitlines()[0])
    assert mended["status"] != "ungraded"
    assert mended["advantage"] is None
    assert run("regrade", folder, "--grader", "strict").err == (
        "ngrpo: --grader is for mathematical tasks; countdown has a grader of its own\n"
    )


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nowhere"], 1, "nowhere: no such file or folder"),
        (["eval/samples.jsonl"], 2, "name its task with --task"),
        (["eval"], 2, "has no summary.json that names its task"),
        (["eval", "--task", "nope"], 2, "unknown task 'nope'"),
        (["eval", "--task", "math", "--grader", "lax"], 2, "'grader': must be strict, math-verify"),
        (["eval", "--task", "math", "--out", "eval"], 2, "--out must be a folder that does not exist yet"),
        (["eval", "--task", "countdown"], 1, "has no test problem '0'"),
        (["torn", "--task", "math"], 1, "line 1: the key 'completion' is missing or no text"),
        (["empty", "--task", "math"], 1, "is empty: it holds no completions"),
    ],
)
def test_what_is_refused(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    samples(tmp_path / "eval")
    for name, text in (("torn", '{"problem_id": "0"}\n'), ("empty", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "samples.jsonl").write_text(text)
    done = run("regrade", *arguments)
    assert (done.status, done.err.count("\n")) == (status, 1), done
    assert message in done.err


def test_an_evaluation_of_training_problems_is_graded_against_them(run, tmp_path):
    made = ("--split", "train", "--problems", 4, "--samples", 2, "--max-completion-tokens", 8, "--out", tmp_path / "e")
    assert run("eval", "builtin:countdown-base", "--task", "countdown", *made).status == 0
    outcome = run("regrade", tmp_path / "e", "--json")
    assert outcome.status == 0, outcome.err
