"""Grading while completions are still sampled, in a thread, so that none waits for a grade before it is on disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Generic, Self, TypeVar

from ngrpo.tasks import Task
from ngrpo.types import Grade, Problem

Key = TypeVar("Key", bound=Hashable)

AT_ONCE = 256
"""Completions that are graded together."""
_STOP_SECONDS = 10.0


class BackgroundGrader(Generic[Key]):
    """Grades completions in the order of `submit`; a context manager.

    A block that ends without an error waits for all grades, one that ends with an error for the current batch only.

    Args:
        task: grades.
        answer_of: gives the problem and the completion's text of a key; called in the thread.
        on_graded: takes the grades of a batch; called in the thread.
    """

    def __init__(
        self,
        task: Task,
        answer_of: Callable[[Key], tuple[Problem, str]],
        on_graded: Callable[[Iterable[tuple[Key, Grade]]], None],
    ) -> None:
        self._task, self._answer_of, self._on_graded = task, answer_of, on_graded
        self._waiting: SimpleQueue[Key | None] = SimpleQueue()
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="grader", daemon=True)

    def submit(self, key: Key) -> None:
        """Has a completion graded.

        Raises:
            GradingError: or whatever else grading an earlier completion has raised.
        """
        self._check()
        self._waiting.put(key)

    def __enter__(self) -> Self:
        """Starts the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits for the grades and raises what grading has raised; after an error, stops."""
        if kind is not None:
            self._stopped.set()
        self._waiting.put(None)
        self._thread.join(None if kind is None else _STOP_SECONDS)
        if kind is None:
            self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while batch := self._batch():
                answers = [self._answer_of(key) for key in batch]
                self._on_graded(zip(batch, self._task.grade_many(answers), strict=True))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that samples
            if not self._stopped.is_set():
                self._error = error

    def _batch(self) -> list[Key]:
        """Returns the completions that wait, at least one, or none at the end."""
        batch: list[Key] = []
        while len(batch) < AT_ONCE and not self._stopped.is_set():
            try:
                key = self._waiting.get(block=not batch)
            except Empty:
                break
            if key is None:
                self._waiting.put(None)  # for the next call
                break
            batch.append(key)
        return [] if self._stopped.is_set() else batch
