"""The processes of a run, its ranks: one by default; those of torchrun share the work (`process_ranks`).

A step is divided where it costs: each rank samples and grades whole groups, scores them and computes their part of the
gradient. Everything else is done alike by every rank from the same numbers, so that its statistics are those of the
whole step by construction. Files are the first rank's.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from ngrpo.errors import ConfigError
from ngrpo.runs.termination import StopSignals

if TYPE_CHECKING:
    from torch import nn

    from ngrpo.config import Config
    from ngrpo.training.batch import TokenRow
    from ngrpo.training.optimizer import UpdateSums

T = TypeVar("T")
R = TypeVar("R")
Row = TypeVar("Row", bound="TokenRow")

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Environment variables that torchrun sets in each process."""


class Place(NamedTuple):
    """Which of how many processes this one is, and how many of them are on this machine."""

    rank: int = 0
    ranks: int = 1
    on_this_machine: int = 1


def place_of(environment: Mapping[str, str] = os.environ) -> Place:
    """Returns the place that torchrun gave this process; that of a single process without torchrun.

    >>> place_of({})
    Place(rank=0, ranks=1, on_this_machine=1)
    """
    if not all(environment.get(name) for name in _TORCHRUN):
        return Place()
    numbers = [environment[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")]
    return Place(*map(int, numbers)) if all(map(str.isdecimal, numbers)) else Place()


class Division(ABC, Generic[T, R]):
    """How a list of items is divided among ranks, and how the results travel: as bytes, which run no code when read."""

    @abstractmethod
    def parts(self, items: Sequence[T], count: int) -> list[list[int]]:
        """Returns the indices of the items of each of `count` ranks; the same in every process."""

    @abstractmethod
    def pack(self, results: Sequence[R]) -> bytes:
        """Returns results as bytes."""

    @abstractmethod
    def unpack(self, data: bytes, items: Sequence[T]) -> Sequence[R]:
        """Returns the results of items."""


class Ranks:
    """A single process, which does everything itself.

    Args:
        stop: notes the signals that ask for the end; none by default.
    """

    number = 0
    count = 1

    def __init__(self, stop: StopSignals | None = None) -> None:
        self.stop = stop or StopSignals()

    @property
    def leads(self) -> bool:
        """True in the first rank, which writes the run folder and shows progress."""
        return self.number == 0

    def check(self, config: Config) -> None:
        """Raises ConfigError where a config cannot be trained by these ranks."""

    def say(self, on_message: Callable[[str], None]) -> Callable[[str], None]:
        """Returns what is given messages about this rank alone, such as that its memory ran out."""
        return on_message

    def together(self, function: Callable[[], R]) -> R:
        """Returns what a function of every rank returns in this one; an error in one of them is raised in all."""
        return function()

    def first(self, function: Callable[[], R]) -> R:
        """Returns in all ranks what a function, which only the first one calls, returns: JSON."""
        return function()

    def spread(
        self,
        items: Sequence[T],
        function: Callable[[Sequence[T]], Sequence[R]],
        division: Division[T, R],  # noqa: ARG002
    ) -> list[R]:
        """Returns in all ranks a result for each item; each rank calls the function with its own items."""
        return list(function(items))

    def own(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Returns the rows whose gradient this rank computes: whole groups."""
        return rows

    def accumulated(
        self,
        function: Callable[[], Sequence[UpdateSums]],
        parameters: Iterable[nn.Parameter],  # noqa: ARG002
    ) -> Sequence[UpdateSums]:
        """Returns the sums over all ranks of what a function returns, and makes gradients their sums over all ranks.

        Args:
            function: accumulates the gradient of this rank's rows.
            parameters: whose gradients are added up.
        """
        return function()

    def check_equal(self, name: str, value: float) -> None:
        """Raises TrainingError when a number that must be the same everywhere differs."""

    def interruptible(self) -> AbstractContextManager[None]:
        """The block changes nothing that must be saved: a signal ends it in all ranks, with StopRequested."""
        return self.stop.interruptible()

    def check_stop(self) -> None:
        """Raises StopRequested in all ranks after a signal in one."""
        self.stop.check()


ALONE = Ranks()
"""A single process without signals."""


@contextmanager
def ranks_of(stop: StopSignals) -> Iterator[Ranks]:
    """Gives the ranks of this process: those of torchrun, or it alone.

    Raises:
        ConfigError: for processes on several machines.
    """
    place = place_of()
    if place.ranks == 1:
        yield Ranks(stop)
        return
    if place.on_this_machine != place.ranks:
        raise ConfigError(
            f"torchrun started {place.ranks} processes on several machines: --engine local uses one, --engine verl many"
        )
    from ngrpo.training.process_ranks import ProcessRanks  # imports torch

    with stop.handled():
        try:
            ranks = ProcessRanks(place, stop)
            yield ranks
            ranks.close()  # not after an error: the others may be gone
        except BaseException:
            stop.leave()  # torchrun ends all others when one has ended; these are ending
            raise


def refuse_torchrun(what: str) -> None:
    """Raises ConfigError in a process of torchrun.

    Args:
        what: what cannot be divided.
    """
    if (count := place_of().ranks) > 1:
        raise ConfigError(f"{what} is not divided among processes, and torchrun started {count}: start it without")
