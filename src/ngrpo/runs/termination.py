"""SIGTERM as an orderly exit, such as a cluster's scheduler sends before it kills."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TERMINATED = 143


@contextmanager
def exits_when_terminated() -> Iterator[None]:
    """Makes SIGTERM raise SystemExit in the main thread while the block runs, so that its cleanup runs too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(*_: Any) -> None:
        sys.exit(TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
