"""What a run measures of its policy is what `ngrpo eval` measures of its checkpoint, whatever the adapters are on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import nn

from tests.cli.conftest import Outcome, run

__all__ = ["run"]

BASE = "builtin:countdown-base"
CONFIG = Path(__file__).parents[2] / "configs" / "countdown" / "ngrpo.toml"
TARGETS = ('["q_proj"]', '["q_proj", "lm_head"]', '["embed_tokens"]', "[]")
GREEDY = ("evaluation.temperature=0.0", "evaluation.samples=1", "evaluation.problems=64")
SMALL = (
    *("model.device=cpu", "model.dtype=float32", "sampling.problems_per_step=8", "optimizer.updates_per_step=2"),
    *("optimizer.lr=5e-3", "run.steps=2", "run.save_every=1", "evaluation.every=1", *GREEDY),
)


def untied_base(folder: Path) -> Path:
    from ngrpo.config import ModelSettings
    from ngrpo.models import load_language_model

    lm = load_language_model(ModelSettings(path=BASE, device="cpu"), for_training=True)
    lm.plain.lm_head.weight = nn.Parameter(lm.plain.lm_head.weight.detach().clone())
    lm.plain.config.tie_word_embeddings = False
    lm.save(folder)
    return folder


def settings(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]


def completions(path: Path) -> list[str]:
    return [json.loads(line)["completion"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_evaluation_in_the_run_is_that_of_its_checkpoint(run, tmp_path: Path, tied: bool, targets: str) -> None:
    model = BASE if tied else str(untied_base(tmp_path / "untied"))
    lora = (f"model.path={model}", f"model.lora.target_modules={targets}", "model.lora.rank=4")
    trained: Outcome = run("train", CONFIG, *settings(*SMALL, *lora), "--out", tmp_path / "run")
    assert trained.status == 0, trained.err
    checkpoint = tmp_path / "run" / "checkpoints" / "step_000002"
    assert not (checkpoint / "model.safetensors").exists()
    task = settings("model.device=cpu", "model.dtype=float32")
    options = (
        "--task",
        "countdown",
        "--samples",
        1,
        "--temperature",
        0,
        "--problems",
        64,
        "--max-completion-tokens",
        8,
    )
    outcome: Outcome = run("eval", checkpoint, *options, *task, "--out", tmp_path / "eval", "--json")
    assert outcome.status == 0, outcome.err
    inside = tmp_path / "run" / "eval" / "000002" / "countdown"
    assert completions(tmp_path / "eval" / "samples.jsonl") == completions(inside / "samples.jsonl")
    assert completions(inside / "samples.jsonl") != completions(
        tmp_path / "run" / "eval" / "000000" / "countdown" / "samples.jsonl"
    )
    summary = json.loads((inside / "summary.json").read_text())
    assert json.loads(outcome.out)["pass_at_k"]["1"] == summary["pass_at_k"]["1"]


def test_a_run_on_a_tied_head_resumes_to_the_byte(run, tmp_path: Path) -> None:
    lora = (f"model.path={BASE}", 'model.lora.target_modules=["lm_head", "embed_tokens"]', "model.lora.rank=4")
    whole: Outcome = run("train", CONFIG, *settings(*SMALL, *lora), "--out", tmp_path / "whole")
    assert whole.status == 0, whole.err
    first = settings(*SMALL, *lora, "run.steps=1")
    assert run("train", CONFIG, *first, "--out", tmp_path / "resumed").status == 0
    again: Outcome = run("train", CONFIG, *settings(*SMALL, *lora), "--out", tmp_path / "resumed", "--resume")
    assert again.status == 0, again.err
    one, other = ((tmp_path / name / "rollouts.jsonl").read_bytes() for name in ("whole", "resumed"))
    assert one == other
    adapter = "checkpoints/step_000002/adapter_model.safetensors"
    assert (tmp_path / "whole" / adapter).read_bytes() == (tmp_path / "resumed" / adapter).read_bytes()
