"""When training warns of many all-wrong groups, and that a run says it once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ngrpo import train
from ngrpo.methods import METHODS, load_method
from ngrpo.runs.observer import Observer
from ngrpo.training.tripwires import FIRST_STEPS, HIGH_SHARE, all_wrong_warning, pushes_all_wrong_groups

PUSHING = {"ngrpo", "constant", "psr_nsr", "nsr"}
METRICS = {"group/all_wrong": 0.9, "advantage/from_all_wrong": 0.75}


@pytest.mark.parametrize("name", ["grpo", "dapo", "dr_grpo", "rloo", "psr", "ppo", *sorted(PUSHING)])
def test_which_methods_push_all_wrong_groups(name: str) -> None:
    assert pushes_all_wrong_groups(load_method({"name": name}), 8) == (name in PUSHING)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_asked(name: str) -> None:
    line = all_wrong_warning(load_method({"name": name}), 8, 1, METRICS)
    assert line is None or ("\n" not in line and "90% of the groups are all-wrong" in line)


def test_it_needs_a_high_share_in_the_first_steps_of_a_method_that_keeps_the_groups() -> None:
    ngrpo = load_method({"name": "ngrpo"})
    line = all_wrong_warning(ngrpo, 8, FIRST_STEPS, METRICS)
    assert line is not None
    assert "ngrpo pushes all of them down (75% of all advantage)" in line
    assert all_wrong_warning(ngrpo, 8, FIRST_STEPS + 1, METRICS) is None
    assert all_wrong_warning(ngrpo, 8, 1, {**METRICS, "group/all_wrong": HIGH_SHARE - 0.01}) is None
    for settings in ({"filter": "all_incorrect"}, {"filter": "all"}, {"num_virtual": 0}):
        assert all_wrong_warning(load_method({"name": "ngrpo", **settings}), 8, 1, METRICS) is None


class Listener(Observer):
    def __init__(self) -> None:
        self.messages: list[str] = []
        self.shares: list[float] = []

    def on_message(self, text: str) -> None:
        self.messages.append(text)

    def on_step(self, step: int, metrics: Mapping[str, Any]) -> None:
        self.shares.append(metrics["group/all_wrong"])


@pytest.mark.parametrize("method", ["ngrpo", "grpo"])
def test_a_run_says_it_once(tmp_path: Path, method: str) -> None:
    listener = Listener()
    tables = {
        "model": {"path": "builtin:countdown-base"},
        "task": {"name": "countdown"},
        "method": {"name": method},
        # One or two tokens are no Countdown solution: every group is all-wrong.
        "sampling": {"problems_per_step": 4, "group_size": 4, "max_completion_tokens": 2},
        "optimizer": {"updates_per_step": 1},
        "run": {"steps": 2},
    }
    train(tables, tmp_path / "run", observers=[listener], progress=False)
    assert listener.shares == [1.0, 1.0]
    said = [text for text in listener.messages if "all-wrong" in text]
    assert len(said) == (method == "ngrpo")
    assert all("100% of the groups are all-wrong" in text and text.endswith("(shown once per run)") for text in said)
