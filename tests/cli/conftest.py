"""Running the command line inside the test's process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from benchmarks.forked_commands import CommandServer

from ngrpo.cli.main import main


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Outcome(int(exit_info.value.code or 0), out, err)

    return call


TINY = (
    *("--set", "sampling.problems_per_step=8"),
    *("--set", "optimizer.updates_per_step=2"),
    *("--set", "evaluation.problems=4"),
    *("--set", "evaluation.samples=4"),
    *("--set", "model.device=cpu"),
)
"""Overrides that make configs/countdown/ngrpo.toml a matter of a second per step."""


@pytest.fixture(scope="session")
def command_server() -> Iterator[CommandServer]:
    """Starts real processes of the command line without importing torch for each."""
    with CommandServer() as server:
        yield server
