"""What verl is doing right now: written by its trainer process, read by ours for the screen."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ngrpo.storage import write_json

if TYPE_CHECKING:
    from ngrpo.runs.observer import Observer

Kind = Literal["start", "evaluation", "step"]


@dataclass(frozen=True, slots=True)
class Phase:
    """One moment of a run.

    Attributes:
        kind: start-up, an evaluation, or a training step.
        text: of a start-up phase what is done, of an evaluation its tasks; empty for a step.
        step: of a training step its number.
        done: completions sampled and graded so far; equal to `total` while the model is updated.
        total: completions that are due; 0 in a start-up phase.
    """

    kind: Kind
    text: str = ""
    step: int = 0
    done: int = 0
    total: int = 0

    def write(self, path: Path) -> None:
        """Replaces what a file has; a full disk does not end a run for the sake of its progress bar."""
        with suppress(OSError):
            write_json(path, asdict(self))

    def tell(self, observer: Observer) -> None:
        """Passes the moment on to an observer."""
        if self.kind == "start":
            observer.on_phase(self.text)
        elif self.kind == "evaluation":
            observer.on_evaluation_progress(self.text, self.done, self.total)
        else:
            observer.on_step_progress(self.step, self.done, self.total)


class PhaseFollower:
    """Tells an observer what a file says, whenever it says something new.

    Args:
        path: where the trainer process writes; what an earlier start has left there is removed.
        observer: is told.
    """

    def __init__(self, path: Path, observer: Observer) -> None:
        path.unlink(missing_ok=True)
        self._path, self._observer = path, observer
        self._last: Phase | None = None

    def look(self) -> None:
        """Reads the file once."""
        try:
            phase = Phase(**json.loads(self._path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return
        if phase != self._last:
            self._last = phase
            phase.tell(self._observer)
