"""`ngrpo train` as a user runs it: a run folder, JSON, resume, and one line for everything that is wrong."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ngrpo.config import load_config
from ngrpo.runs.run_dir import RunDir
from tests.cli.conftest import TINY

CONFIG = Path(__file__).parents[2] / "configs" / "countdown" / "ngrpo.toml"


def test_a_run_leaves_a_folder_and_prints_json(run, tmp_path):
    outcome = run("train", CONFIG, *TINY, "--set", "run.steps=2", "--out", tmp_path / "r", "--json")
    assert outcome.status == 0, outcome.err
    result = json.loads(outcome.out)
    assert result["steps"] == 2
    assert [e["step"] for e in result["evaluations"]] == [0, 2]
    assert set(result["evaluations"][0]["pass_at_k"]) == {"1", "2", "4"}
    names = {path.name for path in (tmp_path / "r").iterdir()}
    assert names == {"config.json", "metrics.jsonl", "rollouts.jsonl", "eval", "checkpoints"}
    assert len((tmp_path / "r" / "rollouts.jsonl").read_text().splitlines()) >= 2 * 8 * 8


def test_a_runs_own_config_repeats_it(run, tmp_path):
    assert run("train", CONFIG, *TINY, "--set", "run.steps=1", "--out", tmp_path / "a").status == 0
    assert run("train", tmp_path / "a" / "config.json", "--out", tmp_path / "b").status == 0
    first, second = ((tmp_path / name / "rollouts.jsonl").read_bytes() for name in "ab")
    assert first == second


def test_resume_goes_on_where_the_run_stopped(run, tmp_path):
    assert run("train", CONFIG, *TINY, "--set", "run.steps=1", "--out", tmp_path / "r").status == 0
    again = run("train", CONFIG, *TINY, "--set", "run.steps=1", "--out", tmp_path / "r", "--resume")
    assert again.status == 2
    assert "already taken 1 of 1 steps" in again.err
    changed = run("train", CONFIG, *TINY, "--set", "run.seed=5", "--out", tmp_path / "r", "--resume")
    assert changed.status == 2
    assert "[run] seed is 5, but the run was started with 0" in changed.err
    longer = run("train", CONFIG, *TINY, "--set", "run.steps=3", "--out", tmp_path / "r", "--resume")
    assert longer.status == 0, longer.err
    assert "resuming at step 2 of 3" in longer.err
    steps = [json.loads(line)["step"] for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]


def test_an_occupied_folder_is_not_touched(run, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    outcome = run("train", CONFIG, "--out", tmp_path)
    assert outcome.status == 2
    assert "not empty" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_resume_needs_a_run(run, tmp_path):
    outcome = run("train", CONFIG, "--out", tmp_path / "none", "--resume")
    assert outcome.status == 1
    assert "no run folder" in outcome.err


@pytest.mark.parametrize(
    ("setting", "status", "said"),
    [
        ("method.clip_lo=0.1", 2, "unknown key 'clip_lo'; did you mean 'clip_low'?"),
        ("methods.name=ngrpo", 2, "unknown key 'methods'; did you mean 'method'?"),
        ("run.steps=many", 2, "[run] 'steps'"),
        ("run.steps=0", 2, "[run] 'steps'"),
        ("method.name=ngpro", 2, "unknown method 'ngpro'"),
        ("task.name=sudoku", 2, "unknown task 'sudoku'"),
        ("method.max_reward=0.5", 2, "max_reward is 0.5, below"),
        ("model.path=/no/such/model", 2, "'/no/such/model' does not exist"),
        ("model.path=builtin:gpt", 2, "allowed: builtin:countdown-base"),
        ("sampling.sampler=endpoint", 2, "sampler 'endpoint' is for evaluation only"),
        ("model.device=tpu", 2, "'tpu'"),
        ("task.name='file:missing.jsonl'", 1, "missing.jsonl: no such file"),
        ("optimizer.passes_per_step=3", 2, "does not divide"),
        ("sampling.problems_per_step=30000", 2, "30000"),
        ("steps=3", 2, "TABLE.KEY=VALUE"),
    ],
)
def test_a_wrong_setting_is_one_line(run, tmp_path, setting, status, said):
    outcome = run("train", CONFIG, "--out", tmp_path / "r", "--set", setting)
    assert outcome.status == status
    last = outcome.err.strip().splitlines()[-1]
    assert last.startswith("ngrpo: ")
    assert said in last
    assert not (tmp_path / "r").exists()


def test_group_of_one_with_grpo(run, tmp_path):
    settings = ("--set", "method.name=grpo", "--set", "sampling.group_size=1")
    outcome = run("train", CONFIG, *settings, "--out", tmp_path / "r")
    assert outcome.status == 2
    assert "group_size is 1, but grpo compares" in outcome.err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("content", ["", '{"question": "1+1"}\n', "not json\n"])
def test_an_unusable_problem_file_stops_before_the_run_folder_is_made(run, tmp_path, content):
    (tmp_path / "p.jsonl").write_text(content)
    (tmp_path / "c.toml").write_text(
        f'[model]\npath = "builtin:countdown-base"\n[task]\nname = "file:{tmp_path}/p.jsonl"\n'
    )
    outcome = run("train", tmp_path / "c.toml", "--out", tmp_path / "r")
    assert outcome.status == 1
    assert "p.jsonl" in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_a_missing_or_malformed_config(run, tmp_path):
    missing = run("train", tmp_path / "no.toml")
    assert (missing.status, missing.err) == (2, f"ngrpo: {tmp_path}/no.toml: no such file\n")
    (tmp_path / "bad.toml").write_text("[run\n")
    bad = run("train", tmp_path / "bad.toml")
    assert bad.status == 2
    assert "not valid TOML" in bad.err


def test_a_missing_extra_names_the_install_command(run, tmp_path, monkeypatch):
    monkeypatch.setattr("ngrpo.runs.checks.find_spec", lambda _name: None)
    outcome = run("train", CONFIG, "--set", "run.trackers=['wandb']", "--out", tmp_path / "r")
    assert outcome.status == 1
    assert "pip install 'ngrpo[wandb]'" in outcome.err
    lora = run("train", CONFIG, "--set", "model.lora.rank=4", "--out", tmp_path / "r")
    assert lora.status == 1
    assert "pip install 'ngrpo[peft]'" in lora.err


VERIFIER = """
import hashlib
def judge(completion, reference):
    if reference == "never":
        return None
    kind = hashlib.sha256(completion.encode()).digest()[0] % 4
    return {0: None, 1: True, 2: 0.25, 3: False}[kind]
"""


def verified(folder: Path, reference: str, module: str) -> tuple[str, ...]:
    (folder / f"{module}.py").write_text(VERIFIER)
    rows = [{"question": f"2 7 9 {n + 1} = {n}", "answer": reference} for n in range(8)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = ("name=file:rows.jsonl", "prompt={question} :", f"grader={module}:judge")
    config = '[model]\npath = "builtin:countdown-base"\n[task]\nname = "x"\n[sampling]\nmax_completion_tokens = 8\n'
    (folder / "config.toml").write_text(config)
    once = ("--set", "run.steps=1", "--set", "optimizer.updates_per_step=1", "--set", "model.device=cpu")
    size = ("--set", "sampling.problems_per_step=8", "--set", "sampling.group_size=4")
    return (*(part for key in table for part in ("--set", f"task.{key}")), *once, *size)


def test_a_verifier_of_the_users_own_trains_and_what_it_cannot_grade_stays_out(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("train", "config.toml", *verified(tmp_path, "7", "deciding"), "--out", "run")
    assert done.status == 0, done.err
    lines = [json.loads(line) for line in (tmp_path / "run" / "rollouts.jsonl").read_text().splitlines()]
    assert {(line["status"], line["reward"]) for line in lines} == {
        ("ungraded", 0.0), ("correct", 1.0), ("wrong", 0.25), ("wrong", 0.0),
    }  # fmt: skip
    assert {line["advantage"] for line in lines if line["status"] == "ungraded"} <= {0.0, None}
    metrics = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert metrics["reward/ungraded"] == sum(line["status"] == "ungraded" for line in lines) / len(lines)


def test_a_verifier_that_never_decides_stops_the_run_with_its_reason(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("train", "config.toml", *verified(tmp_path, "never", "silent"), "--out", "run")
    assert done.status == 1
    assert "step 1: 32 of 32 completions could not be graded (grader returned None)" in done.err
    broken = run("train", "config.toml", *verified(tmp_path, "7", "lacking"), "--set", "task.grader=lacking:nothing")
    assert broken.status == 1
    assert "the grader lacking:nothing cannot be loaded: AttributeError" in broken.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--engine", "slurm"), 2, "Invalid value for '--engine': 'slurm' is not one of 'local', 'verl'"),
        (
            ("--engine", "verl", "--dry-run", "--set", "method.name=ppo", "--set", "method.critic=shared"),
            2,
            "--engine verl: [method] critic is 'shared'",
        ),
        (("--engine", "verl", "--set", "method.name=rl_zvp"), 2, "--engine verl: method 'rl_zvp' has advantages per"),
    ],
)
def test_what_verl_cannot_do_is_one_line_and_leaves_no_folder(run, tmp_path, arguments, status, said):
    outcome = run("train", CONFIG, *arguments, "--out", tmp_path / "r")
    assert (outcome.status, outcome.err.count("\n")) == (status, 1)
    assert said in outcome.err
    assert not (tmp_path / "r").exists()


@pytest.mark.skipif(find_spec("verl") is not None, reason="verl is installed here")
def test_without_the_packages_of_verl_nothing_is_started(run, tmp_path):
    outcome = run("train", CONFIG, "--engine", "verl", "--set", "cluster.device=cpu", "--out", tmp_path / "r")
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert "--engine verl needs the packages 'verl', 'ray', 'transfer_queue', " in outcome.err
    assert outcome.err.endswith(": pip install 'ngrpo[verl]'\n")
    assert not (tmp_path / "r").exists()


def test_a_dry_run_prints_one_command_and_writes_nothing(run, tmp_path):
    arguments = ("train", CONFIG, "--engine", "verl", "--dry-run", "--out", tmp_path / "r")
    shown = json.loads(run(*arguments, "--json").out)
    assert "algorithm.adv_estimator=ngrpo" in shown["command"]
    assert "actor_rollout_ref.actor.clip_ratio_high=0.24" in shown["command"]
    assert shown["environment"]["VERL_FILE_LOGGER_PATH"].startswith(str(tmp_path))
    assert "verl.trainer.main_ppo" in run(*arguments).out
    assert not (tmp_path / "r").exists()


def test_a_dry_run_shows_raw_settings_of_verl(run, tmp_path):
    raw = 'cluster.overrides={"actor_rollout_ref.actor.fsdp_config.param_offload" = true}'
    outcome = run("train", CONFIG, "--engine", "verl", "--dry-run", "--set", raw, "--out", tmp_path / "r")
    assert "actor_rollout_ref.actor.fsdp_config.param_offload=true" in outcome.out
    unchecked = "verl is not installed here: [cluster.overrides] is not checked against its schema"
    assert (unchecked in outcome.err) == (find_spec("verl") is None)


def test_a_run_of_verl_is_not_resumed_by_another_engine(run, tmp_path):
    folder = tmp_path / "r"
    config = load_config(CONFIG)
    RunDir.create(folder, config.to_json(), seed=0)
    (folder / "verl").mkdir()
    outcome = run("train", CONFIG, "--resume", "--out", folder)
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert "is a run of verl, whose checkpoints only verl can resume: add --engine verl" in outcome.err
