"""`ngrpo lint` as a user runs it, and what `ngrpo train` prints of it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import TINY

CONFIGS = Path(__file__).parents[2] / "configs"


def test_nothing_is_found(run):
    outcome = run("lint", CONFIGS / "countdown" / "ngrpo.toml")
    assert (outcome.status, outcome.out) == (0, "")
    assert "0 faults, read as a config of ngrpo" in outcome.err


def test_a_fault_has_place_reason_fix_and_source(run, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("num_generations: 8\nscale_rewards: batch\n")
    outcome = run("lint", path)
    assert outcome.status == 1
    first, fix, source = outcome.out.splitlines()
    assert first.startswith(f"{path}:2: warning zero-std-metric-is-blind: scale_rewards: ")
    assert fix == "    fix:    scale_rewards: group"
    assert source == "    source: https://huggingface.co/docs/trl/grpo_trainer"


def test_json_and_notes(run, tmp_path):
    (tmp_path / "c.sh").write_text("algorithm.adv_estimator=grpo actor_rollout_ref.rollout.n=2\n")
    found = json.loads(run("lint", tmp_path / "c.sh", "--json").out)
    assert found["tool"] == "verl"
    assert [(f["rule"], f["line"], f["key"]) for f in found["findings"]] == [
        ("group-of-two", 1, "actor_rollout_ref.rollout.n")
    ]
    noted = json.loads(run("lint", tmp_path / "c.sh", "--json", "--notes").out)
    assert "dual-clip-by-default" in [f["rule"] for f in noted["findings"]]


def test_overrides_and_a_config_that_does_not_load(run):
    config = CONFIGS / "countdown" / "ngrpo.toml"
    outcome = run("lint", config, "--set", "method.filter=all")
    assert (outcome.status, "filter-drops-needed-groups" in outcome.out) == (1, True)
    outcome = run("lint", config, "--set", "method.max_reward=0.5")
    assert outcome.status == 1
    assert "error does-not-load: " in outcome.out


def test_a_file_that_is_no_config_is_wrong_usage(run, tmp_path):
    (tmp_path / "c.yaml").write_text("a: \x1b[31m[\n")
    outcome = run("lint", tmp_path / "c.yaml")
    assert outcome.status == 2
    assert "\x1b" not in outcome.err


def test_control_characters_of_a_config_do_not_reach_the_terminal(run, tmp_path):
    (tmp_path / "c.json").write_text('{"num_generations": 8, "learning_rate": "\\u001b[31m", "learning_rate": 1}')
    outcome = run("lint", tmp_path / "c.json")
    assert "key-twice" in outcome.out
    assert "\x1b" not in outcome.out


def test_train_prints_faults_at_its_start(run, tmp_path):
    config = CONFIGS / "countdown" / "ngrpo.toml"
    settings = (*TINY, "--set", "run.steps=1", "--set", "evaluation.every=0", "--set", "method.filter=all")
    outcome = run("train", config, *settings, "--out", tmp_path / "r")
    assert outcome.status == 0, outcome.err
    assert "lint: method.filter: ngrpo learns from all-wrong groups" in outcome.err
    assert "--set method.filter=all_correct" in outcome.err
