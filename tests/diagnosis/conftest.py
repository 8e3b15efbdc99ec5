"""Short real runs of the shipped model, each made once."""

from __future__ import annotations

from pathlib import Path

import pytest

import ngrpo

CONFIG = Path(__file__).parents[2] / "configs" / "countdown" / "ngrpo.toml"
SETTINGS = (
    "run.steps=4",
    "sampling.problems_per_step=8",
    "optimizer.updates_per_step=2",
    "optimizer.warmup_steps=1",
    "evaluation.every=0",
    "model.device=cpu",
)


@pytest.fixture(scope="session")
def healthy_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Run folders of five seeds: four steps of 8 groups of 8."""
    folder = tmp_path_factory.mktemp("healthy")
    return [
        ngrpo.train(CONFIG, folder / str(seed), overrides=[*SETTINGS, f"run.seed={seed}"], progress=False).path
        for seed in range(5)
    ]
