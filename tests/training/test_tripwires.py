"""Trip-wires: each stops with its reason and its switch, only after a sound value, and not when it is switched off."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ngrpo.choices import TRIPWIRES
from ngrpo.errors import TrippedError
from ngrpo.runs.run_dir import RunDir
from ngrpo.training.tripwires import WINDOW, Tripwires

SOUND = {"reward/mean": 0.3, "policy/entropy": 1.0}
CASES = {
    "reward_collapse": ("reward/mean", 0.0, "the reward is 0 for 10 steps in a row, after 0.3 in step 1: lower"),
    "entropy_collapse": ("policy/entropy", 1e-6, "the entropy is below 0.0001 nats for 10 steps in a row, after 1 in"),
    "entropy_explosion": ("policy/entropy", 4.0, "the entropy is above 3.70 nats, 90% of that of random tokens for 10"),
}


def take(wires: Tripwires, lines: list[dict[str, float]], first: int = 1) -> None:
    for step, line in enumerate(lines, start=first):
        assert wires.tripped(step, line) is None


@pytest.mark.parametrize("name", CASES)
def test_a_metric_beyond_its_bound_stops_the_run(small_config: Any, name: str) -> None:
    metric, value, said = CASES[name]
    bad = SOUND | {metric: value}
    wires = Tripwires(small_config(), [], 61)
    take(wires, [SOUND, *[bad] * (WINDOW - 1)])
    line = wires.tripped(WINDOW + 1, bad) or ""
    assert line.startswith(f"step {WINDOW + 1}: {said}")
    assert f"leaving '{name}' out of [run] tripwires" in line
    resumed = Tripwires(small_config(), [SOUND, *[bad] * (WINDOW - 1)], 61)  # the same after a resume
    assert resumed.tripped(WINDOW + 1, bad) == line
    others = [wire for wire in TRIPWIRES if wire != name]
    take(Tripwires(small_config(f"run.tripwires={others}"), [], 61), [SOUND, *[bad] * (2 * WINDOW)])


@pytest.mark.parametrize("name", CASES)
def test_a_run_that_never_was_sound_or_recovers_goes_on(small_config: Any, name: str) -> None:
    metric, value, _ = CASES[name]
    bad = SOUND | {metric: value}
    take(Tripwires(small_config(), [], 61), [bad] * (3 * WINDOW))
    take(Tripwires(small_config(), [], 61), [*[SOUND, *[bad] * (WINDOW - 1)] * 3])
    take(Tripwires(small_config(), [], 61), [SOUND, *[{metric: math.nan}] * (2 * WINDOW)])


def test_switched_off_the_other_two_let_a_run_go_on(tmp_path: Any, small_config: Any, train: Any) -> None:
    hopeless = ("method.name=grpo", "method.filter=all", "method.refill=false", "sampling.max_completion_tokens=1")
    run = train(tmp_path / "run", small_config(*hopeless, "run.steps=12", "run.tripwires=['not_finite']"))
    assert len(run.read_metrics()) == 12


@pytest.mark.parametrize(("every", "steps"), [(0, []), (3, [3, 6, 9]), (4, [4, 8, 9]), (50, [9])])
def test_a_run_that_trips_is_evaluated_where_it_ends(
    tmp_path: Any, small_config: Any, train: Any, every: int, steps: list[int]
) -> None:
    hopeless = ("method.name=grpo", "method.filter=all", "method.refill=false", "sampling.max_completion_tokens=1")
    config = small_config(*hopeless, "run.steps=12", "evaluation.at_start=false", f"evaluation.every={every}")
    with pytest.raises(TrippedError, match="10 steps in a row had no group to train on"):
        train(tmp_path / "run", config)
    assert [summary.step for summary in RunDir.open(tmp_path / "run").read_summaries()] == steps


def test_gradients_that_are_not_finite_stop_the_run_unless_switched_off(
    make_updater: Any, random_rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    updater = make_updater({"name": "ngrpo"})
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(math.nan))
    with pytest.raises(TrippedError, match=r"leave 'not_finite' out of \[run\] tripwires"):
        updater.take_updates([random_rows] * 12, step=1)
    updater.stops_when_not_finite = False
    assert updater.take_updates([random_rows] * 12, step=1).skipped == 12
