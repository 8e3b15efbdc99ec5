"""`ngrpo train` where memory ends: in AdamW's own step; `--fit` and `--dry-run` as commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmarks.forked_commands import CommandServer
from benchmarks.kill_resume import contents
from safetensors.torch import load_file

import ngrpo
from ngrpo.training import fit as fit_module
from tests.cli.conftest import TINY
from tests.cli.run_commands import Commands

CONFIG = Path(__file__).parents[2] / "configs" / "countdown" / "ngrpo.toml"


def test_memory_that_runs_out_in_adamw_is_one_line_and_nothing_is_lost(
    command_server: CommandServer, tmp_path: Path
) -> None:
    commands = Commands(command_server, tmp_path)
    given = ("--set", "run.steps=2", "--set", "run.save_every=1", "--set", "evaluation.every=0")
    assert commands.train(*given, name="whole").status == 0
    failed = commands.train(*given, hook=("tests.cli.run_commands:run_out_of_memory_in_adamw", 4))
    assert failed.status == 1
    assert "Traceback" not in failed.err
    assert failed.last == (
        "ngrpo: out of memory in the optimiser's step, which needs 8 bytes per trained parameter for AdamW's moments: "
        "train a [model.lora] or a smaller model, or give more memory; the last checkpoint is whole, --resume auto "
        "continues from it"
    )
    assert [path.name for path in (tmp_path / "r" / "checkpoints").iterdir()] == ["step_000001"]
    resumed = commands.train(*given, "--resume", "auto")
    assert resumed.status == 0, resumed.err
    assert contents(tmp_path / "r") == contents(tmp_path / "whole")


def probed(task: dict[str, Any]) -> Any:
    """What a machine gives whose memory is 1,000 tokens, or 6 sequences."""
    largest = 1000 if task["kind"] == "update" else 6
    for size in task["sizes"]:
        yield {"size": size, "fits": size <= largest, "peak": size << 20, "limit": 1 << 30, "seconds": 0.1}


def test_fit_prints_what_fits_or_trains_with_it(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "_probed", probed)
    given = ("train", CONFIG, *TINY, "--out", tmp_path / "r", "--set", "run.steps=1", "--set", "evaluation.every=0")
    shown = run(*given, "--set", "sampling.problems_per_step=64", "--fit")
    assert shown.status == 0, shown.err
    assert shown.out.splitlines() == [
        "optimizer.tokens_per_micro_batch = 512 fits (peak 0.50 of 1.00 GiB); 1024 does not",
        "sampling.max_sequences = 4 fits (peak 0.00 of 1.00 GiB); 8 does not",
        "use: --set optimizer.tokens_per_micro_batch=512 --set sampling.max_sequences=4",
    ]
    assert not (tmp_path / "r").exists()
    found = json.loads(run(*given, "--fit", "--json").out)
    assert found["max_sequences"]["value"] == 4
    assert found["max_sequences"]["too_large"] == 8
    taken = run(*given, "--fit", "take")
    assert taken.status == 0, taken.err
    config = json.loads((tmp_path / "r" / "config.json").read_text())["config"]
    assert config["sampling"]["max_sequences"] == 4
    assert config["optimizer"]["tokens_per_micro_batch"] == found["tokens_per_micro_batch"]["value"]


def test_a_dry_run_of_the_local_engine_says_what_a_run_takes(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = run("train", CONFIG, *TINY, "--out", tmp_path / "r", "--dry-run")
    assert shown.status == 0, shown.err
    first, *others = shown.out.splitlines()
    weights = load_file(Path(ngrpo.__file__).parent / "models" / "assets" / "countdown-base" / "model.safetensors")
    parameters = sum(weight.numel() for weight in weights.values())
    assert first == f"model: {parameters:,} parameters, {parameters:,} trained, on cpu"
    assert [line.partition(":")[0] for line in others] == ["memory", "step", "time", "run"]
    found = json.loads(run("train", CONFIG, *TINY, "--dry-run", "--json").out)
    assert found["size"]["weights"] == found["size"]["gradients"] == 4 * parameters
    assert found["size"]["moments"] == 2 * 4 * parameters + 4 * len(weights)  # and a counter of steps for each tensor
    assert found["evaluations"] == 4
    assert found["evaluation_completions"] == 4 * 4 * 4
    assert found["total_seconds"] > 150 * found["step_seconds"] > 0
    limit = ("--set", f"run.max_rollouts={5 * found['completions'] + 1}", "--set", f"run.max_tokens={10**9}")
    limited = json.loads(run("train", CONFIG, *TINY, *limit, "--dry-run", "--json").out)
    assert limited["steps"] == 6
    assert limited["evaluations"] < found["evaluations"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--fit", "--engine", "verl"), "--fit tries the local engine's memory, not that of --engine verl"),
        (("--fit", "--set", "sampling.sampler=vllm"), "--fit tries sampler 'transformers' only, not 'vllm'"),
    ],
)
def test_what_cannot_be_fitted_is_refused(run: Callable[..., Any], arguments: tuple[str, ...], line: str) -> None:
    refused = run("train", CONFIG, *arguments)
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert line in refused.err
