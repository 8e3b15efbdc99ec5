"""A real vLLM in this process: training with weights that it takes up after each step, and evaluation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm")

CONFIG = Path(__file__).parents[2] / "configs" / "countdown" / "ngrpo.toml"
SMALL = (
    "sampling.sampler=vllm",
    "sampling.problems_per_step=16",
    "optimizer.lr=1e-3",
    "run.steps=3",
    "evaluation.every=3",
    "evaluation.problems=32",
    "evaluation.samples=8",
)


def ngrpo(*arguments: object) -> str:
    """Runs the command in a process of its own, as vLLM is loaded once in each."""
    command = [sys.executable, "-m", "ngrpo", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def overrides(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("adapters", [False, True])
def test_the_shipped_model_trains_on_what_vllm_draws(tmp_path: Path, adapters: bool) -> None:
    lora = ["model.lora={rank = 8}"] if adapters else []
    ngrpo("train", CONFIG, *overrides(*SMALL, "sampling.importance_cap=2.0", *lora), "--out", tmp_path / "run")
    lines = metrics(tmp_path / "run")
    assert len(lines) == 3
    for line in lines:
        assert abs(line["policy/approx_kl"]) > 1e-7  # the policy moved, and vLLM followed:
        assert line["policy/sampler_gap"] < 1e-4
        assert line["policy/importance_mean"] == pytest.approx(1.0, abs=1e-4)
        assert line["policy/importance_truncated"] == 0.0
        assert line["update/count"] == 4
    summary = json.loads((tmp_path / "run/eval/000003/countdown/summary.json").read_text())
    assert 0.0 < summary["pass_at_k"]["1"] < summary["pass_at_k"]["8"] < 1.0


def test_an_evaluation_by_vllm_agrees_with_one_by_transformers(tmp_path: Path) -> None:
    """Two samplers of one model: their Pass@1 over 64 x 32 agrees within 4 standard errors."""
    shared = ("builtin:countdown-base", "--task", "countdown", "--problems", 64, "--samples", 32)
    decoding = ("--temperature", 1, "--top-p", 1, "--max-completion-tokens", 12, "--json")
    results = {
        engine: json.loads(ngrpo("eval", *shared, *decoding, "--sampler", engine, "--out", tmp_path / engine))
        for engine in ("vllm", "transformers")
    }
    assert results["vllm"]["samples"] == 64 * 32
    assert results["vllm"]["sampler"]["name"] == "vllm"
    ours, theirs = (results[engine]["pass_at_k"]["1"] for engine in results)
    assert abs(ours - theirs) < 4 * (2 * ours * (1 - ours) / (64 * 32)) ** 0.5
    entropies = [results[engine]["entropy"] for engine in results]
    assert entropies[0] == pytest.approx(entropies[1], abs=0.08)


def test_a_resumed_evaluation_has_every_sample_once(tmp_path: Path) -> None:
    arguments = ("eval", "builtin:countdown-base", "--task", "countdown", "--problems", 16, "--samples", 8)
    arguments = (*arguments, "--max-completion-tokens", 12, "--sampler", "vllm", "--out", tmp_path / "e", "--json")
    ngrpo(*arguments)
    samples = tmp_path / "e" / "samples.jsonl"
    whole = samples.read_bytes()
    half = b"".join(whole.splitlines(keepends=True)[:50]) + b'{"problem_id": "te'
    samples.rename(tmp_path / "e" / ".samples.jsonl.journal")
    (tmp_path / "e" / ".samples.jsonl.journal").write_bytes(half)
    summary = json.loads(ngrpo(*arguments, "--resume"))
    assert summary["samples"] == 128
    again = samples.read_bytes()
    assert again.splitlines()[:50] == whole.splitlines()[:50]
    keys = [(row["problem_id"], row["sample"]) for row in map(json.loads, again.splitlines())]
    assert len(set(keys)) == len(keys) == 128


TRUNCATED = (
    "sampling.temperature=1.2",
    "sampling.top_p=0.9",
    "sampling.top_k=6",
    "sampling.min_p=0.02",
    "sampling.stop=['*']",
    "run.steps=2",
    "evaluation.every=0",
)


def test_truncated_sampling_has_one_distribution_in_vllm_and_the_trainer(tmp_path: Path) -> None:
    ngrpo("train", CONFIG, *overrides(*SMALL, *TRUNCATED), "--out", tmp_path / "run")
    for line in metrics(tmp_path / "run"):
        assert line["policy/sampler_gap"] < 1e-5
        assert line["update/count"] == 4
    rollouts = [json.loads(line) for line in (tmp_path / "run" / "rollouts.jsonl").read_text().splitlines()]
    assert all("*" not in row["completion"] for row in rollouts)
    assert any(len(row["completion"].split()) < 4 for row in rollouts)


def test_stop_strings_end_the_same_completions_as_in_the_transformers_sampler(tmp_path: Path) -> None:
    """Greedy, so that both write the same: the texts are equal, with the stop string kept."""
    shared = ("builtin:countdown-base", "--task", "countdown", "--problems", 24, "--samples", 1, "--temperature", 0)
    stops = ("--stop", "*", "--stop", " - ", "--set", "sampling.include_stop=true", "--max-completion-tokens", 12)
    found = []
    for engine in ("vllm", "transformers"):
        ngrpo("eval", *shared, *stops, "--sampler", engine, "--out", tmp_path / engine, "--json")
        rows = [json.loads(line) for line in (tmp_path / engine / "samples.jsonl").read_text().splitlines()]
        found.append([(row["problem_id"], row["completion"], row["num_tokens"], row["finish_reason"]) for row in rows])
    assert found[0] == found[1]
    assert any(text.endswith(("*", " - ")) for _, text, *_ in found[0])
    assert all(text.count("*") <= 1 for _, text, *_ in found[0])
