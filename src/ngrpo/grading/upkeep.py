"""What keeps a grading process as it was at its start: its memory, and the random numbers of its libraries."""

from __future__ import annotations

import random
import resource
import sys
from pathlib import Path
from typing import Any

LARGEST_SHARE = 0.5
"""Share of its limit that a fork's address space may reach before the fork is renewed."""
MOST_GROWTH_BYTES = 256 << 20
"""Growth since its start after which a fork is renewed in any case."""
LEAST_GROWTH_BYTES = 32 << 20
"""Growth below which a renewal would gain nothing."""
MOST_NODES = 60_000
"""Quadrature nodes for [-1, 1] that mpmath may keep from one pair to the next, about 0.7 kB each."""

_STATM = Path("/proc/self/statm")


class Memory:
    """Size of this process against its limit and against its size at the start."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._start = address_space()

    def is_worn(self) -> bool:
        """Returns whether the process has grown so much that a new one should take its place."""
        size = address_space()
        growth = size - self._start
        return growth > MOST_GROWTH_BYTES or (growth > LEAST_GROWTH_BYTES and size > LARGEST_SHARE * self._limit)


def address_space() -> int:
    """Returns the bytes of this process's address space; where there is no /proc, of its largest resident memory."""
    try:
        return int(_STATM.read_bytes().split()[0]) * resource.getpagesize()
    except OSError:
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return largest if sys.platform == "darwin" else largest << 10


def reset_libraries() -> None:
    """Seeds the random numbers of Python and sympy and drops mpmath's quadrature nodes.

    sympy chooses points and orders at random, and mpmath keeps about 3.5 MB for each definite integral.
    """
    random.seed(0)
    if (sympy_random := sys.modules.get("sympy.core.random")) is not None:
        sympy_random.seed(0)
    if (mpmath := sys.modules.get("mpmath")) is not None:
        for rule in (getattr(mpmath.mp, "_tanh_sinh", None), getattr(mpmath.mp, "_gauss_legendre", None)):
            _drop_nodes(rule)


def _drop_nodes(rule: Any) -> None:
    """Drops the nodes for particular intervals; those for [-1, 1], which all share, only where they are many."""
    getattr(rule, "transformed_cache", {}).clear()
    shared = getattr(rule, "standard_cache", {})
    if sum(map(len, shared.values())) > MOST_NODES:
        shared.clear()
