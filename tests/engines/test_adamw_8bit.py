"""AdamW with moments in 8 bits, by a real bitsandbytes: it trains, saves its moments, and resumes byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bitsandbytes")

from safetensors.torch import load_file

from ngrpo.api import train

SETTINGS: dict[str, Any] = {
    "model": {"path": "builtin:countdown-base", "device": "cpu"},
    "task": {"name": "countdown", "train_size": 100, "test_size": 8},
    "sampling": {"problems_per_step": 8, "group_size": 4, "max_prompt_tokens": 32, "max_completion_tokens": 8},
    "optimizer": {"name": "adamw_8bit", "lr": 1e-3},
    "run": {"steps": 3, "save_every": 1},
}


def test_an_8_bit_run_resumes_byte_for_byte(tmp_path: Path) -> None:
    whole = train(SETTINGS, tmp_path / "whole")
    train(SETTINGS, tmp_path / "parts", overrides=["run.steps=2"])
    parts = train(SETTINGS, tmp_path / "parts", resume=True)
    assert whole.rollouts_path.read_bytes() == parts.rollouts_path.read_bytes()
    for name in ("model.safetensors", "optimizer.safetensors", "trainer_state.json"):
        a, b = (run.checkpoint_path(3) / name for run in (whole, parts))
        assert a.read_bytes() == b.read_bytes(), name
    moments = load_file(whole.checkpoint_path(3) / "optimizer.safetensors")
    kinds = {str(tensor.dtype) for name, tensor in moments.items() if name.endswith("/state1")}
    assert kinds == {"torch.uint8", "torch.float32"}  # the latter for small tensors
    assert all(line["update/count"] == 4 for line in whole.read_metrics())
