"""Deadlines of one grading process, as its parent sees them: processor time, and wall-clock time on a busy machine."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ngrpo.grading.server import NEEDS_SYMPY, RENEWED

WALL_FACTOR = 10.0
"""Wall-clock limit over the limit of processor time, for a process that waits for a processor."""
CHECK_SECONDS = 0.1
"""Time between two checks of a silent process."""


class Failure(Enum):
    """Why a pair has no grade. A disturbed one had to share its processor, and is tried again."""

    TIMEOUT = "timeout"
    DISTURBED_TIMEOUT = "timeout on a busy machine"
    CRASH = "crash"


@dataclass(slots=True)
class Watch:
    """Time that the process has spent on one request, read while it is silent."""

    seconds: float
    at: int = -1
    since: float = 0.0
    waited: float = 0.0

    def __post_init__(self) -> None:
        self.since = time.monotonic()

    def failure(self, at: int, pid: int) -> Failure | None:
        """Returns why the process must be killed, or None while it may go on."""
        if at != self.at:
            self.at, self.since, self.waited = at, time.monotonic(), _waited_seconds(pid)
            return None
        elapsed = time.monotonic() - self.since
        if elapsed < self.seconds:
            return None
        if _is_asleep(pid) and elapsed - (_waited_seconds(pid) - self.waited) > self.seconds + 2 * CHECK_SECONDS:
            return Failure.TIMEOUT if at >= 0 else Failure.CRASH  # one that has not begun was stopped from outside
        return Failure.DISTURBED_TIMEOUT if elapsed > WALL_FACTOR * self.seconds else None

    def meaning_of(self, status: int, at: int) -> Failure | None:
        """Returns what a fork's exit status means; wall-clock time shows whether one out of time was alone."""
        if status in (NEEDS_SYMPY, RENEWED):
            return None
        if status != -signal.SIGPROF:
            return Failure.CRASH
        alone = at != self.at or time.monotonic() - self.since < 1.25 * self.seconds + 2 * CHECK_SECONDS
        return Failure.TIMEOUT if alone else Failure.DISTURBED_TIMEOUT


def _is_asleep(pid: int) -> bool:
    """Returns whether a process neither runs nor wants to; False where that is unknown."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "SDTt"
    except (OSError, IndexError):
        return False


def _waited_seconds(pid: int) -> float:
    """Returns how long a process has waited for a processor so far; 0 where that is unknown."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
