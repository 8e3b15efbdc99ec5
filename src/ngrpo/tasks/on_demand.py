"""Problems that are made when they are asked for, so that a split may be large without costing anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

from ngrpo.types import Problem


class ProblemsOnDemand(Sequence[Problem]):
    """A split of `size` problems; `make` gives the one at a place, 0 to size - 1, the same each time."""

    def __init__(self, size: int, make: Callable[[int], Problem]) -> None:
        self._places, self._make = range(size), make

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Problem: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Problem]: ...
    def __getitem__(self, index: int | slice) -> Problem | Sequence[Problem]:
        """Returns one problem, or a tuple of them for a slice."""
        if isinstance(index, slice):
            return tuple(self._make(place) for place in self._places[index])
        return self._make(self._places[index])
