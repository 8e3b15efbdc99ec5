"""`ngrpo eval` on the shipped model, on a run, and on real mathematics."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from tests.cli.conftest import TINY
from tests.shared import SHARED

CONFIG = Path(__file__).parents[2] / "configs" / "countdown" / "ngrpo.toml"
SHORT = ("--max-completion-tokens", 8, "--temperature", 1, "--top-p", 1)


def test_the_shipped_model_scores_as_its_card_says(run, tmp_path):
    out = ("--out", tmp_path / "e", "--json")
    outcome = run(
        "eval", "builtin:countdown-base", "--task", "countdown", "--samples", 32, *SHORT, "--problems", 256, *out
    )
    assert outcome.status == 0, outcome.err
    summary = json.loads(outcome.out)
    assert (summary["problems"], summary["samples"], summary["ungraded"]) == (256, 256 * 32, 0)
    assert 0.05 < summary["pass_at_k"]["1"] < 0.15
    assert json.loads((tmp_path / "e" / "summary.json").read_text())["auc"] == summary["auc"]
    passk = run("passk", tmp_path / "e" / "samples.jsonl", "--json")
    assert json.loads(passk.out)["pass_at_k"] == summary["pass_at_k"]
    again = run("eval", "builtin:countdown-base", "--task", "countdown", *SHORT, *out)
    assert again.status == 2
    assert "already holds samples" in again.err


def test_a_run_folder_stands_for_its_newest_checkpoint(run, tmp_path):
    train = run("train", CONFIG, *TINY, "--set", "run.steps=1", "--out", tmp_path / "r")
    assert train.status == 0, train.err
    options = ("--task", "countdown", "--samples", 4, "--problems", 4, *SHORT)
    outcome = run("eval", tmp_path / "r", *options, "--out", tmp_path / "e", "--json")
    assert outcome.status == 0, outcome.err
    summary = json.loads(outcome.out)
    assert summary["samples"] == 16


def test_a_run_is_evaluated_on_its_own_task_with_its_own_settings(run, tmp_path):
    own = ("--set", "task.numbers=3", "--set", "evaluation.problems=3", "--set", "evaluation.samples=2")
    train = run("train", CONFIG, *TINY, *own, "--set", "run.steps=1", "--out", tmp_path / "r")
    assert train.status == 0, train.err
    checkpoint = tmp_path / "r" / "checkpoints" / "step_000001"
    for model, options, samples in [(tmp_path / "r", (), 6), (checkpoint, ("--samples", 5), 15)]:
        out = tmp_path / f"e{samples}"
        outcome = run("eval", model, *options, "--out", out, "--json")
        assert outcome.status == 0, outcome.err
        summary = json.loads(outcome.out)
        assert (summary["problems"], summary["samples"], summary["task"]) == (3, samples, "countdown")
        record = json.loads((out / "evaluation.json").read_text())
        assert record["task_settings"]["numbers"] == 3
        assert record["settings"]["decoding"]["max_completion_tokens"] == 8
    two = json.loads((tmp_path / "r" / "config.json").read_text())
    two["config"]["evaluation"]["tasks"] = ["countdown", "math:x"]
    (tmp_path / "r" / "config.json").write_text(json.dumps(two))
    outcome = run("eval", tmp_path / "r")
    assert outcome.status == 2
    assert outcome.err.endswith("evaluates several tasks: choose one with --task, of countdown, math:x\n")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("builtin:countdown-base",), 2, "--task is required: only a run folder"),
        (("builtin:countdown-base", "--task", "chess"), 2, "unknown task 'chess'"),
        (("builtin:countdown-base", "--task", "file:no.jsonl"), 1, "no.jsonl: no such file"),
        (("no/such/folder", "--task", "countdown"), 2, "does not exist"),
        (("builtin:countdown-base", "--task", "countdown", "--samples", "0"), 2, "'samples'"),
        (("builtin:countdown-base", "--task", "countdown", "--sampler", "sglang"), 2, "'sglang' is not one of"),
        (("x", "--task", "countdown", "--sampler", "endpoint", "--url", "ftp://x"), 2, "'url': must be an address"),
        (("x", "--task", "countdown", "--url", "http://user:key@x/v1"), 2, "'url' must hold no user or password"),
        (("builtin:countdown-base", "--task", "gym:count"), 2, "reasoning-gym has no data set 'count'"),
        (("builtin:countdown-base", "--task", "countdown", "--top-p", "0"), 2, "'top_p'"),
        (("builtin:countdown-base", "--task", "countdown", "--set", "task.number=3"), 2, "did you mean 'numbers'?"),
    ],
)
def test_wrong_input_is_one_line(run, tmp_path, arguments, status, said):
    outcome = run("eval", *arguments, "--out", tmp_path / "e")
    assert outcome.status == status
    assert said in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "e").exists()


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason=f"the shared data are not at {SHARED}/data")
@pytest.mark.parametrize("name", ["aime2025", "amc23"])
def test_real_mathematics(run, tmp_path, tiny_model_folder, name):
    outcome = run(
        *("eval", tiny_model_folder, "--task", f"{name}:{SHARED}/data/{name}.parquet", "--samples", 2),
        *("--max-completion-tokens", 4, "--out", tmp_path / "e", "--json"),
    )
    assert outcome.status == 0, outcome.err
    summary = json.loads(outcome.out)
    assert summary["problems"] == {"aime2025": 30, "amc23": 40}[name]
    assert summary["pass_at_k"]["1"] == 0.0


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vllm is installed")
@pytest.mark.parametrize("command", ["eval", "train"])
def test_an_engine_that_is_not_installed_says_how_to_install_it(run, tmp_path, command):
    arguments = {
        "eval": ("eval", "builtin:countdown-base", "--task", "countdown", "--sampler", "vllm"),
        "train": ("train", CONFIG, "--set", "sampling.sampler=vllm"),
    }[command]
    outcome = run(*arguments, "--out", tmp_path / "e")
    assert outcome.status == 1
    message = "[sampling] sampler 'vllm' needs the package 'vllm': pip install 'ngrpo[vllm]'"
    assert outcome.err.endswith(f"ngrpo: {message}\n")
    assert not (tmp_path / "e").exists()


def test_a_server_that_does_not_answer_is_one_line(run, tmp_path):
    address = ("--url", "http://127.0.0.1:9/v1")
    outcome = run("eval", "m", "--task", "countdown", "--sampler", "endpoint", *address, "--out", tmp_path / "e")
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1].startswith("ngrpo: no answer from http://127.0.0.1:9/v1 for 10 s: ")
    assert not (tmp_path / "e").exists()
