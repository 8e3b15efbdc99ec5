"""What a run tells whoever watches: the terminal, TensorBoard, wandb, trackio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class Observer:
    """Hears of everything that happens in a run; every method may be left out by a subclass."""

    def on_start(self, facts: Sequence[str], *, first_step: int, last_step: int) -> None:
        """The run is about to take its first step; `facts` say what the settings will do."""

    def on_phase(self, text: str) -> None:
        """A phase of the start-up has begun, such as loading the model."""

    def on_step_progress(self, step: int, done: int, total: int) -> None:
        """A step has sampled and graded `done` of `total` completions; with all of them the update begins."""

    def on_step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """A step is over and its metrics are on disk."""

    def on_evaluation_progress(self, task: str, done: int, total: int) -> None:
        """An evaluation has sampled and graded `done` of `total` completions."""

    def on_evaluation(self, step: int, task: str, summary: Mapping[str, Any]) -> None:
        """An evaluation is over and its summary is on disk."""

    def on_message(self, text: str) -> None:
        """Something that a person should know, in one line."""

    def close(self) -> None:
        """The run has ended, whichever way."""


class Observers(Observer):
    """Passes everything on to several observers."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = tuple(observers)

    def on_start(self, facts: Sequence[str], *, first_step: int, last_step: int) -> None:
        """See `Observer.on_start`."""
        for observer in self._observers:
            observer.on_start(facts, first_step=first_step, last_step=last_step)

    def on_phase(self, text: str) -> None:
        """See `Observer.on_phase`."""
        for observer in self._observers:
            observer.on_phase(text)

    def on_step_progress(self, step: int, done: int, total: int) -> None:
        """See `Observer.on_step_progress`."""
        for observer in self._observers:
            observer.on_step_progress(step, done, total)

    def on_step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """See `Observer.on_step`."""
        for observer in self._observers:
            observer.on_step(step, metrics)

    def on_evaluation_progress(self, task: str, done: int, total: int) -> None:
        """See `Observer.on_evaluation_progress`."""
        for observer in self._observers:
            observer.on_evaluation_progress(task, done, total)

    def on_evaluation(self, step: int, task: str, summary: Mapping[str, Any]) -> None:
        """See `Observer.on_evaluation`."""
        for observer in self._observers:
            observer.on_evaluation(step, task, summary)

    def on_message(self, text: str) -> None:
        """See `Observer.on_message`."""
        for observer in self._observers:
            observer.on_message(text)

    def close(self) -> None:
        """See `Observer.close`."""
        for observer in self._observers:
            observer.close()
