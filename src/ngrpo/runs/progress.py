"""Live progress of a run on the terminal, on standard error so that --json and pipes stay clean."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from ngrpo.errors import printable
from ngrpo.runs.observer import Observer

_ROWS = 12
"""Steps shown at the same time on a terminal."""
_LINES_WANTED = 20
"""Without a terminal, about so many steps are printed, evenly spaced."""
_SECONDS_OF_SILENCE = 30.0
"""Without a terminal, a count of completions is printed when nothing else was for so long."""


class Progress(Observer):
    """A table of the latest steps that is redrawn in place; without a terminal, one line for every so many steps.

    Args:
        quiet: print only messages.
        console: where to; standard error unless a test wants it elsewhere.
        clock: seconds; decides when a plain console has been silent for too long.
    """

    def __init__(
        self, *, quiet: bool = False, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._quiet = quiet
        self._live: Live | None = None
        self._rows: list[tuple[str, ...]] = []
        self._status = ""
        self._first, self._last = 1, 1
        self._step_seconds: deque[float] = deque(maxlen=50)
        self._clock = clock
        self._spoke = clock()

    def on_start(self, facts: Sequence[str], *, first_step: int, last_step: int) -> None:
        """Prints the facts and opens the table."""
        self._first, self._last = first_step, last_step
        if self._quiet:
            return
        for fact in facts:
            self._console.print(printable(fact), markup=False, soft_wrap=True)
        if first_step > 1:
            self._console.print(f"resuming at step {first_step} of {last_step}")
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4)
            self._live.start()

    def on_phase(self, text: str) -> None:
        """Shows a phase of the start-up below the table; without a terminal, in a line."""
        if self._live is None and not self._quiet:
            self._print(text)
        self._show(text)

    def on_step_progress(self, step: int, done: int, total: int) -> None:
        """Shows how far a step's sampling is."""
        counted = f"sampled {done:,} of {total:,} completions" if done < total else "updating the model"
        self._count(f"step {step}: {counted}")

    def on_step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Shows a step."""
        if self._quiet:
            return
        self._step_seconds.append(metrics["time/step_seconds"])
        seconds_left = sum(self._step_seconds) / len(self._step_seconds) * (self._last - step)
        row = _row(step, self._last, metrics, seconds_left)
        self._rows = [*self._rows, row][-_ROWS:]
        self._status = ""
        self._redraw()
        every = max(1, (self._last - self._first + 1) // _LINES_WANTED)
        if self._live is None and (step % every == 0 or step in {self._first, self._last}):
            self._print("  ".join(f"{n} {v}" for n, v in zip(_COLUMNS, row, strict=True)))

    def on_evaluation_progress(self, task: str, done: int, total: int) -> None:
        """Shows how far an evaluation is."""
        self._count(f"evaluating {task}: {done:,} of {total:,} completions")

    def on_evaluation(self, step: int, task: str, summary: Mapping[str, Any]) -> None:
        """Prints an evaluation's Pass@k and AUC above the table."""
        if self._quiet:
            return
        curve = summary["pass_at_k"]
        shown = "  ".join(
            f"pass@{k} {100 * curve[k]:.1f}%" for k in dict.fromkeys((min(curve, key=int), max(curve, key=int)))
        )
        auc = "" if summary["auc"] is None else f"  AUC {100 * summary['auc']:.2f}"
        self._print(f"step {step}: {task} {shown}{auc}")
        self._status = ""
        self._redraw()

    def on_message(self, text: str) -> None:
        """Prints a message above the table."""
        self._print(text)

    def close(self) -> None:
        """Leaves the last table standing."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _print(self, text: str) -> None:
        with suppress(OSError):  # a terminal that hung up must not end a run that is about to save
            self._console.print(printable(text), markup=False, soft_wrap=True)
        self._spoke = self._clock()

    def _count(self, text: str) -> None:
        """Shows a count, which a plain console prints only after a silence."""
        if self._live is None and not self._quiet and self._clock() - self._spoke >= _SECONDS_OF_SILENCE:
            self._print(text)
        self._show(text)

    def _show(self, status: str) -> None:
        self._status = status
        self._redraw()

    def _redraw(self) -> None:
        if self._live is None:
            return
        caption = Text(printable(self._status)) if self._status else None
        table = Table(*_COLUMNS, caption=caption, box=None, pad_edge=False)
        for row in self._rows:
            table.add_row(*row)
        with suppress(OSError):
            self._live.update(table)


class EvaluationProgress:
    """A progress bar for one evaluation; a context manager."""

    def __init__(self, task: str, *, quiet: bool) -> None:
        self._console = console = Console(stderr=True, highlight=False)
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task(printable(f"evaluating {task}"), total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, done: int, total: int) -> None:
        """Shows that `done` of `total` completions are drawn and graded."""
        self._bar.update(self._task, completed=done, total=total)

    def message(self, text: str) -> None:
        """Prints a message above the bar."""
        self._console.print(printable(text), markup=False, soft_wrap=True)


_COLUMNS = ("step", "reward", "all-wrong", "mixed", "all-correct", "ungraded", "entropy", "tokens/s", "left")


def _row(step: int, last: int, metrics: Mapping[str, Any], seconds_left: float) -> tuple[str, ...]:
    kinds = ("group/all_wrong", "group/mixed", "group/all_correct", "group/ungraded")
    return (
        f"{step}/{last}",
        f"{metrics['reward/mean']:.3f}",
        *(f"{100 * metrics[kind]:.0f}%" for kind in kinds),
        f"{metrics['policy/entropy']:.3f}",
        f"{metrics['time/tokens_per_second']:,.0f}",
        _duration(seconds_left),
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
