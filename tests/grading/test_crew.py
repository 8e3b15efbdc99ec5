"""How work is shared: small work by one process, large work by all, whatever the time of a pair."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from ngrpo.errors import GradingError
from ngrpo.grading import crew, worker
from ngrpo.grading.watch import Failure
from ngrpo.types import Grade


class Fake(worker.Worker):
    """Takes the seconds that a request names; fails where it says so."""

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.batches: list[int] = []
        self.ready = bool(settings["ready"])
        self.killed = False

    @property
    def is_running(self) -> bool:
        return self.ready

    def start(self) -> None:
        self.ready = True

    def kill(self) -> None:
        self.killed = True

    def grade(self, requests: Sequence[Any], stopped: threading.Event) -> list[Grade | Failure]:
        self.batches.append(len(requests))
        for name, seconds in requests:
            if name == "broken":
                raise GradingError("no process")
            if name == "interrupted":
                raise KeyboardInterrupt
            stopped.wait(float(seconds))
        return [Failure.CRASH if name == "crash" else Grade("correct", 0.0, reason=name) for name, _ in requests]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(crew, "Worker", Fake)
    return lambda count, ready=True: crew.Crew({"ready": ready}, count)


def judged_by(team: Any, requests: list[tuple[str, str]]) -> list[int]:
    outcomes = team.graded(requests)
    assert [outcome.reason for outcome in outcomes] == [name for name, _ in requests]
    return [sum(each.batches) for each in team.workers]


def test_small_work_is_done_by_the_process_used_last(made: Any) -> None:
    team = made(3)
    for count in (1, 3, 40):
        counts = judged_by(team, [(f"{n}", "0") for n in range(count)])
    assert counts == [44, 0, 0]
    assert made(2).graded([]) == []


def test_large_work_is_done_by_all(made: Any) -> None:
    counts = judged_by(made(3), [(f"{n}", "0.01") for n in range(120)])
    assert sum(counts) == 120
    assert min(counts) >= 20
    counts = judged_by(made(2), [(f"{n}", "0.2") for n in range(4)])
    assert sum(counts) == 4


def test_a_process_is_started_only_for_much_work(made: Any) -> None:
    # 0.06 s of work, to which a busy machine adds: to start a process takes 1 s.
    assert judged_by(made(2, ready=False), [(f"{n}", "0.002") for n in range(30)])[1] == 0
    assert judged_by(made(2, ready=False), [(f"{n}", "0.02") for n in range(100)])[1] > 20


def test_a_crash_is_tried_again_alone(made: Any) -> None:
    team = made(1)
    assert team.graded([("a", "0"), ("crash", "0"), ("b", "0")])[1] is Failure.CRASH
    assert team.workers[0].batches == [3, 1]


@pytest.mark.parametrize(("name", "error"), [("broken", GradingError), ("interrupted", KeyboardInterrupt)])
def test_an_error_ends_the_work(made: Any, name: str, error: type[BaseException]) -> None:
    team = made(2)
    started = time.process_time()
    with pytest.raises(error):
        team.graded([(f"{n}", "0.05") for n in range(30)] + [(name, "0")] + [(f"{n}", "0.05") for n in range(900)])
    assert time.process_time() - started < 5
    assert sum(map(sum, (each.batches for each in team.workers))) < 200
    assert judged_by(team, [("x", "0")])  # both processes are lent again


def test_batches_end_where_the_text_gets_long(made: Any) -> None:
    team = made(1)
    judged_by(team, [("x" * 150_000, "0")] * 7)
    assert max(team.workers[0].batches) <= 2
