"""What a run measures with vLLM of adapters on any layer is what vLLM and transformers measure of its checkpoint."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

pytest.importorskip("vllm")

from tests.engines.test_vllm import CONFIG, ngrpo, overrides
from tests.models.test_in_run_evaluation import BASE, SMALL, completions, untied_base

ALL = [
    (tied, targets)
    for tied in (True, False)
    for targets in ('["q_proj", "lm_head"]', '["embed_tokens"]', '["q_proj"]', "[]")
]
CASES = ALL if os.environ.get("NGRPO_ALL_TARGETS") else [*ALL[:2], *ALL[4:5]]
"""Each takes a minute and three starts of an engine; the others run by hand with NGRPO_ALL_TARGETS=1."""


@pytest.mark.parametrize(("tied", "targets"), CASES)
def test_evaluation_in_the_run_is_that_of_its_checkpoint(tmp_path: Path, tied: bool, targets: str) -> None:
    model = BASE if tied else str(untied_base(tmp_path / "untied"))
    lora = (f"model.path={model}", f"model.lora.target_modules={targets}", "model.lora.rank=4")
    ngrpo("train", CONFIG, *overrides(*SMALL, *lora, "sampling.sampler=vllm"), "--out", tmp_path / "run")
    before, inside = (
        completions(tmp_path / "run" / "eval" / step / "countdown" / "samples.jsonl") for step in ("000000", "000002")
    )
    assert sum(a != b for a, b in zip(before, inside, strict=True)) > 8  # the adapters count
    for engine in ("vllm", "transformers"):
        settings = overrides("model.device=cpu", "model.dtype=float32", f"sampling.sampler={engine}")
        out = tmp_path / engine
        summary = json.loads(ngrpo("eval", tmp_path / "run", *settings, "--out", out, "--json"))
        assert summary["samples"] == len(inside) == 64
        # Greedy: only a tie of two tokens within rounding may fall otherwise.
        assert sum(a != b for a, b in zip(completions(out / "samples.jsonl"), inside, strict=True)) <= 1
