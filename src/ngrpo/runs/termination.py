"""Signals as an orderly end: SIGTERM, SIGHUP, SIGUSR1 (a scheduler's warning) and Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGINT") if hasattr(signal, name))


class StopRequested(BaseException):
    """A signal asks for the end while nothing is under way that must be finished."""


class StopSignals:
    """Notes the first signal that asks for the end; a Ctrl-C after it raises KeyboardInterrupt at once.

    Without `handled`, nothing is ever noted.
    """

    def __init__(self) -> None:
        self.requested: signal.Signals | None = None
        self._interruptible = self._leaving = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handles the signals while the block runs; those that are ignored, as under nohup, stay ignored."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._note)
        try:
            yield
        finally:
            for number, handler in before.items():
                if handler is not None and not (self._leaving and number != signal.SIGINT):  # None: not Python's
                    signal.signal(number, handler)

    def leave(self) -> None:
        """The process is about to end: to its end all signals but Ctrl-C are ignored."""
        if threading.current_thread() is threading.main_thread():
            self._leaving = True
            for number in _SIGNALS:
                if number != signal.SIGINT:
                    signal.signal(number, signal.SIG_IGN)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """The block changes nothing that must be saved: a signal ends it at once, with StopRequested."""
        self.check()
        self._interruptible = True
        try:
            yield
        finally:
            self._interruptible = False
        self.check()  # raised inside a callback of another library, the exception may have been lost

    def check(self) -> None:
        """Raises StopRequested after a signal."""
        if self.requested is not None:
            raise StopRequested

    def _note(self, number: int, _frame: Any) -> None:
        if self.requested is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.requested = signal.Signals(number)
        if self._interruptible:
            self._interruptible = False
            raise StopRequested
        if number == signal.SIGINT:
            with suppress(OSError):  # not through sys.stderr, in whose middle the signal may have come
                os.write(2, b"\nngrpo: ending after this update; Ctrl-C again stops at once\n")


@contextmanager
def exits_when_terminated() -> Iterator[None]:
    """Makes SIGTERM, SIGHUP and SIGUSR1 raise SystemExit in the main thread, so that the block's cleanup runs too.

    The first one ends the block; those that come during its cleanup are ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: Any) -> None:
        for later in before:
            signal.signal(later, signal.SIG_IGN)
        sys.exit(128 + number)

    before = {number: signal.getsignal(number) for number in _SIGNALS if number != signal.SIGINT}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
