"""Processor time of a pool: a bound that holds on a busy machine."""

from __future__ import annotations

import resource
import time
from pathlib import Path

from ngrpo.grading import GraderPool
from ngrpo.grading.watch import WALL_FACTOR

_TICKS = 100.0


class Stopwatch:
    """Processor seconds of this process, the pool's processes and their forks since the start, dead ones included."""

    def __init__(self, pool: GraderPool) -> None:
        self._pool = pool
        self._start = self._now()
        self._wall = time.monotonic()

    def seconds(self) -> float:
        return self._now() - self._start

    def check(self, seconds: float, timeout: float, about: str = "") -> None:
        """Fails where more processor time passed, or more wall-clock time than two tries and new processes may take."""
        spent, wall = self.seconds(), time.monotonic() - self._wall
        assert spent < seconds, (about, spent, wall)
        assert wall < 2 * WALL_FACTOR * timeout + 60, (about, spent, wall)

    def _now(self) -> float:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        processes = [worker._process.pid for worker in self._pool._workers if worker._process is not None]
        return time.process_time() + ended.ru_utime + ended.ru_stime + sum(map(_tree_seconds, processes))


def _tree_seconds(pid: int) -> float:
    """Processor time of a process, of its children that ended, and of those that run."""
    try:
        running = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0.0
    return _seconds(pid, 4) + sum(_seconds(int(child), 2) for child in running)


def _seconds(pid: int, fields: int) -> float:
    try:
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11 : 11 + fields]
    except OSError:
        return 0.0
    return sum(map(int, values)) / _TICKS
