"""What a run shows: a line for each phase where there is no terminal, a status below the table where there is one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ngrpo.runs.progress import Progress


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def plain():
    """A progress without a terminal, its clock, and what it has printed so far."""
    stream, clock = io.StringIO(), Clock()
    progress = Progress(console=Console(file=stream, force_terminal=False, width=200), clock=clock)
    return progress, clock, lambda: stream.getvalue().splitlines()


def test_phases_are_lines_and_counts_only_after_a_silence(plain):
    progress, clock, printed = plain
    progress.on_start(["a fact"], first_step=1, last_step=2)
    progress.on_phase("starting verl and Ray")
    progress.on_phase("loading the model")
    shown = ["a fact", "starting verl and Ray", "loading the model"]
    for seconds, done in ((10, 1), (29, 2), (30, 40_000), (31, 40_001), (59, 40_002)):
        clock.seconds = seconds
        progress.on_evaluation_progress("countdown", done, 65_536)
    shown.append("evaluating countdown: 40,000 of 65,536 completions")
    assert printed() == shown
    clock.seconds = 60
    progress.on_step_progress(1, 0, 128)
    clock.seconds = 95
    progress.on_step_progress(1, 128, 128)
    shown += ["step 1: sampled 0 of 128 completions", "step 1: updating the model"]
    assert printed() == shown


def test_a_terminal_shows_them_below_the_table():
    stream = io.StringIO()
    progress = Progress(console=Console(file=stream, force_terminal=True, width=100))
    progress.on_start([], first_step=1, last_step=2)
    for text in ("loading the model", "starting the sampler"):
        progress.on_phase(text)
        assert str(progress._live.get_renderable().caption) == text
    progress.on_step_progress(3, 7, 8)
    assert str(progress._live.get_renderable().caption) == "step 3: sampled 7 of 8 completions"
    progress.close()
    assert "step 3: sampled 7 of 8 completions" in stream.getvalue()


def test_json_output_stays_clean():
    stream = io.StringIO()
    progress = Progress(quiet=True, console=Console(file=stream))
    progress.on_start(["a fact"], first_step=1, last_step=2)
    progress.on_phase("loading the model")
    progress.on_step_progress(1, 0, 8)
    assert stream.getvalue() == ""
