"""Work of a pool shared among its processes: as many of them as the amount of work is worth."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, LifoQueue
from typing import Any

from ngrpo.grading.server import Request
from ngrpo.grading.watch import Failure
from ngrpo.grading.worker import Worker
from ngrpo.types import Grade

BATCH_PAIRS = 128
BATCH_CHARACTERS = 200_000
"""Largest batch for a process: so many pairs, and no further pair where the text is longer than this."""
BATCH_SECONDS = 0.01
"""Time that a batch should take: long against the exchange of messages, short against the end of the work."""
FIRST_PAIRS = 4
"""First batch, while the time of a pair is unknown."""
HELP_SECONDS, START_SECONDS = 0.02, 1.0
"""Work that must be left for a further process to join: one that runs, and one that has to be started first."""

_AGAIN = (Failure.DISTURBED_TIMEOUT, Failure.CRASH)


class Crew:
    """The grading processes of a pool; the one used last is used first, and others join when there is work for them.

    Args:
        settings: those of `ngrpo.grading.worker.Worker`.
        count: number of processes, at least 1.
    """

    def __init__(self, settings: Mapping[str, Any], count: int) -> None:
        self.workers = [Worker(settings) for _ in range(count)]
        self._idle: LifoQueue[Worker] = LifoQueue()
        for worker in reversed(self.workers):
            self._idle.put(worker)
        self._quiet = threading.Lock()

    def start(self) -> None:
        """Starts one process.

        Raises:
            GradingError: when it cannot be started, or cannot load the custom grader.
        """
        with self._lent() as worker:
            worker.start()

    def close(self) -> None:
        """Stops all processes."""
        for worker in self.workers:
            worker.stop()

    def graded(self, requests: Sequence[Request]) -> list[Grade | Failure]:
        """Returns the outcome of each request, in order; what a busy machine or a killer disturbed is tried twice.

        Raises:
            GradingError: when no process can be started.
        """
        if not requests:
            return []
        work = _Work(requests)
        self._shared_out(work)
        outcomes = [work.outcomes[number] for number in range(len(requests))]
        again = [number for number, found in enumerate(outcomes) if found in _AGAIN]
        if again:
            with self._quiet, self._lent() as worker:
                for number in again:
                    (outcomes[number],) = worker.grade([requests[number]], threading.Event())
        return outcomes

    def _shared_out(self, work: _Work) -> None:
        """Has the work done here, with the help of further threads where more than one process is allowed."""
        helpers = min(len(self.workers), len(work.requests)) - 1
        if helpers < 1:
            with self._lent() as worker:
                work.done_by(worker)
            return
        with ThreadPoolExecutor(helpers) as threads:
            help_comes = [threads.submit(self._help, work) for _ in range(helpers)]
            try:
                with self._lent() as worker:
                    work.done_by(worker)
                work.finished.set()
                for helper in help_comes:
                    helper.result()
            except BaseException:
                work.stop()
                raise

    def _help(self, work: _Work) -> None:
        """Waits until a further process is worth its while, and has it join the work."""
        while not work.finished.wait(HELP_SECONDS):
            with contextlib.suppress(Empty), self._lent(HELP_SECONDS) as worker:
                if work.seconds_left() > (HELP_SECONDS if worker.is_running else START_SECONDS):
                    work.done_by(worker)
                    return

    @contextlib.contextmanager
    def _lent(self, patience: float | None = None) -> Iterator[Worker]:
        worker = self._idle.get(timeout=patience)
        try:
            yield worker
        finally:
            self._idle.put(worker)


class _Work:
    """Requests that several workers take in batches, whose size follows from the time that those before took."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = requests
        self.outcomes: dict[int, Grade | Failure] = {}
        self.finished = threading.Event()
        self._lock = threading.Lock()
        self._taken, self._done, self._seconds = 0, 0, 0.0
        self._began = math.inf
        self._stopped = threading.Event()
        self._busy: set[Worker] = set()

    def done_by(self, worker: Worker) -> None:
        """Has one worker grade batches until none is left or the work is stopped."""
        worker.start()
        with self._lock:
            self._busy.add(worker)
            self._began = min(self._began, time.monotonic())
        try:
            while not self._stopped.is_set() and (batch := self._batch()):
                began = time.monotonic()
                found = worker.grade([self.requests[number] for number in batch], self._stopped)
                with self._lock:
                    self.outcomes.update(zip(batch, found, strict=False))
                    self._done += len(batch)
                    self._seconds += time.monotonic() - began
        except BaseException:
            self._stopped.set()
            raise
        finally:
            with self._lock:
                self._busy.discard(worker)

    def seconds_left(self) -> float:
        """Returns how long one worker would take for what no worker has taken yet, as far as is known."""
        with self._lock:
            seconds, done = self._seconds, self._done
            if not done:  # the first batch is still under way
                seconds, done = max(0.0, time.monotonic() - self._began), max(1, self._taken)
            return (len(self.requests) - self._taken) * seconds / done

    def stop(self) -> None:
        """Ends the work, and the processes that are at it."""
        self.finished.set()
        self._stopped.set()
        with self._lock:
            busy = list(self._busy)
        for worker in busy:
            worker.kill()

    def _batch(self) -> range:
        """Takes the next requests: few enough that all workers have something to do until the end."""
        with self._lock:
            left = len(self.requests) - self._taken
            most = FIRST_PAIRS
            if self._done:
                most = int(BATCH_SECONDS * self._done / max(self._seconds, 1e-9))
            if len(self._busy) > 1:
                most = min(most, left // (2 * len(self._busy)))
            end = self._taken + min(left, max(1, min(BATCH_PAIRS, most)))
            batch = range(self._taken, self._end_by_characters(end))
            self._taken = batch.stop
            return batch

    def _end_by_characters(self, end: int) -> int:
        characters = 0
        for number in range(self._taken, end):
            if characters > BATCH_CHARACTERS:
                return number
            characters += len(self.requests[number][0]) + len(self.requests[number][1])
        return end
