from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ngrpo.config import Config, config_of
from ngrpo.errors import MissingDependencyError
from ngrpo.runs.observer import Observer, Observers
from ngrpo.runs.trackers import LoggingService, TensorBoard, flat_evaluation, tracker_observers

SUMMARY = {"pass_at_k": {"1": 0.25, "8": 0.75}, "auc": 0.5}


def config(*trackers: str) -> Config:
    return config_of(
        {
            "model": {"path": "builtin:countdown-base"},
            "task": {"name": "countdown"},
            "run": {"name": "tracked", "trackers": list(trackers)},
        }
    )


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself reads from its event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_tensorboard_reads_back_every_metric_and_evaluation(tmp_path: Path) -> None:
    (observer,) = tracker_observers(config("tensorboard"), tmp_path)
    observer.on_start([], first_step=1, last_step=2)
    observer.on_evaluation(0, "countdown", SUMMARY)
    observer.on_step(1, {"reward/mean": 0.5, "update/count": 4})
    observer.on_step(2, {"reward/mean": 0.75, "update/count": 4})
    observer.on_message("nothing for TensorBoard")
    observer.close()
    assert scalars(tmp_path / "tensorboard") == {
        "eval/countdown/pass@1": [(0, 0.25)],
        "eval/countdown/pass@8": [(0, 0.75)],
        "eval/countdown/auc": [(0, 0.5)],
        "reward/mean": [(1, 0.5), (2, 0.75)],
        "update/count": [(1, 4), (2, 4)],
    }


def test_tensorboard_forgets_the_steps_that_a_resumed_run_takes_again(tmp_path: Path) -> None:
    for first_step, value in ((1, 0.0), (3, 1.0)):
        observer = TensorBoard(tmp_path)
        observer.on_start([], first_step=first_step, last_step=4)
        for step in range(first_step, 5):
            observer.on_step(step, {"reward/mean": value})
        observer.close()
    assert scalars(tmp_path) == {"reward/mean": [(1, 0.0), (2, 0.0), (3, 1.0), (4, 1.0)]}


def test_tensorboard_writes_nothing_for_a_run_that_never_started(tmp_path: Path) -> None:
    TensorBoard(tmp_path / "events").close()
    assert not (tmp_path / "events").exists()


def test_without_tensorboard_the_message_says_how_to_install_it(tmp_path: Path) -> None:
    """In a process of its own: here torch may have imported it already."""
    code = f"""
import sys
sys.modules["tensorboard"] = None
from pathlib import Path
from ngrpo.errors import MissingDependencyError
from ngrpo.runs.trackers import TensorBoard
try:
    TensorBoard(Path({str(tmp_path)!r}))
except MissingDependencyError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'ngrpo[tensorboard]'" in done.stdout
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_service_that_is_not_installed_is_named_with_its_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=rf"pip install 'ngrpo\[{name}\]'"):
        tracker_observers(config(name), tmp_path)


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_service_gets_config_metrics_and_evaluations(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, Any]] = []
    module = ModuleType(name)
    vars(module).update(
        init=lambda **arguments: calls.append(("init", arguments)),
        log=lambda numbers, step: calls.append(("log", (step, numbers))),
        finish=lambda: calls.append(("finish", None)),
    )
    monkeypatch.setitem(sys.modules, name, module)
    observer = LoggingService(name, config(name))
    observer.on_step(1, {"reward/mean": 0.5})
    observer.on_evaluation(1, "countdown", {"pass_at_k": {"1": 0.25}, "auc": None})
    observer.close()
    assert calls[0][0] == "init"
    assert calls[0][1]["name"] == "tracked"
    assert calls[0][1]["config"]["method"]["name"] == "ngrpo"
    assert calls[1:] == [
        ("log", (1, {"reward/mean": 0.5})),
        ("log", (1, {"eval/countdown/pass@1": 0.25})),
        ("finish", None),
    ]


def test_no_tracker_no_observer(tmp_path: Path) -> None:
    assert tracker_observers(config(), tmp_path) == []


def test_an_evaluation_without_area_has_none() -> None:
    assert flat_evaluation("t", {"pass_at_k": {}, "auc": None}) == {}


def test_several_observers_each_hear_everything_in_order() -> None:
    heard: list[tuple[str, str]] = []

    def observer(name: str) -> Observer:
        def hear(what: str) -> Any:
            return lambda *_args, **_kwargs: heard.append((name, what))

        methods = [method for method in vars(Observer) if method.startswith("on_") or method == "close"]
        return SimpleNamespace(**{method: hear(method) for method in methods})  # type: ignore[return-value]

    both = Observers([observer("a"), observer("b")])
    both.on_phase("loading")
    both.on_start([], first_step=1, last_step=1)
    both.on_step_progress(1, 1, 2)
    both.on_step(1, {})
    both.on_evaluation_progress("t", 1, 2)
    both.on_evaluation(1, "t", {})
    both.on_message("text")
    both.close()
    order = (
        *("on_phase", "on_start", "on_step_progress", "on_step", "on_evaluation_progress", "on_evaluation"),
        *("on_message", "close"),
    )
    assert heard == [(name, method) for method in order for name in "ab"]
    assert {name for name in vars(Observer) if not name.startswith("_")} == set(order)
