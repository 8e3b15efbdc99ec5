"""What verl is doing, told to whoever watches; needs neither verl nor Ray."""

from __future__ import annotations

import pytest

from ngrpo.engines.verl.phases import Phase, PhaseFollower
from ngrpo.runs.observer import Observer


class Heard(Observer):
    def __init__(self):
        self.heard = []

    def on_phase(self, text):
        self.heard.append(text)

    def on_evaluation_progress(self, task, done, total):
        self.heard.append((task, done, total))

    def on_step_progress(self, step, done, total):
        self.heard.append((step, done, total))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "phase.json"


def test_each_moment_is_told_once(path):
    Phase("start", "left by an earlier start").write(path)
    heard = Heard()
    follower = PhaseFollower(path, heard)
    follower.look()
    moments = (
        Phase("start", "loading the model"),
        Phase("evaluation", "countdown", 0, 10, 32),
        Phase("step", step=1, done=0, total=128),
        Phase("step", step=1, done=128, total=128),
    )
    for phase in moments:
        phase.write(path)
        follower.look()
        follower.look()
    assert heard.heard == ["loading the model", ("countdown", 10, 32), (1, 0, 128), (1, 128, 128)]


def test_where_it_cannot_be_written_the_run_goes_on(tmp_path):
    Phase("start", "loading the model").write(tmp_path / "no such folder" / "phase.json")
