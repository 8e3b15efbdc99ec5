"""Learning-rate schedules against those of transformers."""

from __future__ import annotations

import pytest
import torch
from transformers import get_scheduler

from ngrpo.config import config_of


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize(("warmup", "steps"), [(0, 1), (0, 7), (3, 10), (5, 6)])
def test_falling_schedules_are_those_of_transformers(name: str, warmup: int, steps: int) -> None:
    tables = {"optimizer": {"schedule": name, "warmup_steps": warmup}, "run": {"steps": steps}}
    settings = config_of({"model": {"path": "m"}, "task": {"name": "countdown"}, **tables}).optimizer
    assert settings.decay_steps == steps
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    theirs = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=steps)
    for step in range(1, steps + 1):
        # Their warm-up begins with a step of learning rate 0, ours ends with one of the full rate.
        expected = theirs.get_last_lr()[0] if step > warmup else 0.5 * step / warmup
        assert settings.scheduled(0.5, step) == pytest.approx(expected, rel=1e-12)
        optimizer.step()
        theirs.step()
    assert settings.scheduled(0.5, steps + 1) == settings.scheduled(0.5, steps + 100) == pytest.approx(0.0, abs=1e-12)
    lowest = settings.model_copy(update={"decay_to": 0.1})
    assert lowest.scheduled(0.5, steps + 1) == pytest.approx(0.05)
    assert lowest.scheduled(0.5, warmup + 1) == 0.5


def test_the_last_step_is_part_of_the_resolved_config() -> None:
    tables = {"model": {"path": "m"}, "task": {"name": "countdown"}, "optimizer": {"schedule": "cosine"}}
    config = config_of({**tables, "run": {"steps": 20}})
    again = config.to_json()
    again["run"]["steps"] = 40
    assert config_of(again).optimizer.decay_steps == 20
