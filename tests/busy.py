"""Bounds of wall-clock time that hold on a busy machine."""

from __future__ import annotations

import time

_SAMPLE_SECONDS = 0.05


def slowdown() -> float:
    """Returns how many seconds pass here while a process that computes gets one, 1 at least."""
    wall, own = time.monotonic(), time.process_time()
    while time.process_time() - own < _SAMPLE_SECONDS:
        pass
    return max(1.0, (time.monotonic() - wall) / _SAMPLE_SECONDS)
