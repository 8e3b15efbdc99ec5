"""Running the cells of a study: `ngrpo train` processes of one thread each, side by side, each safe to repeat."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ngrpo.errors import ConfigError, TrainingError, short_line
from ngrpo.folder_lock import IN_USE
from ngrpo.runs.folder_state import remove_run
from ngrpo.runs.run_dir import RunDir
from ngrpo.storage import read_json_object, write_json
from ngrpo.study.cell_summary import summary_of
from ngrpo.study.study_config import Cell, Study

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_DIVERGED = ("diverged", "tripwires")
"""Words in the last line of a run whose early end is a result of its method, and not a fault of the machine."""
_IN_USE_SECONDS = 5.0
"""Pause before a folder that another process holds is tried again."""


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """The folder of a study: `summaries/VARIANT/SEED.json` are its results, `runs/` may be removed."""

    path: Path

    def summary(self, cell: Cell) -> Path:
        """Where the cell's summary is, or will be."""
        return self.path / "summaries" / f"{cell.slug}.json"

    def run(self, cell: Cell) -> Path:
        """The run folder of a cell."""
        return self.path / "runs" / cell.slug

    def log(self, cell: Cell) -> Path:
        """What the cell's process printed."""
        return self.path / "logs" / f"{cell.slug}.log"

    def begin(self, study: Study) -> None:
        """Writes down which settings each cell has.

        Raises:
            ConfigError: when a cell was begun with other settings.
        """
        path = self.path / "study.json"
        known = read_json_object(path)["cells"] if path.exists() else {}
        cells = {cell.slug: _digest(cell) for cell in study.cells}
        for slug, digest in cells.items():
            if known.get(slug, digest) != digest:
                raise ConfigError(f"{self.path} has '{slug}' with other settings: choose another --out")
        write_json(path, {"settings": study.settings.model_dump(mode="json"), "cells": {**known, **cells}})


@dataclass(slots=True)
class Progress:
    """The grid as it is now; `cells` maps each slug to waiting, running, finished or failed."""

    cells: dict[str, str]
    steps: dict[str, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def seconds_left(self, processes: int) -> float | None:
        """Returns an estimate from the cells that finished, None before the first."""
        if not self.seconds:
            return None
        left = sum(state in ("waiting", "running") for state in self.cells.values())
        return left * sum(self.seconds) / len(self.seconds) / max(1, min(processes, left))


class Runner:
    """Runs what is missing of a study.

    Args:
        study: its cells.
        folder: where.
        processes: cells at the same time.
        on_progress: is called when a cell begins or ends, and about once a second.
    """

    def __init__(
        self, study: Study, folder: StudyFolder, *, processes: int, on_progress: Callable[[Progress], None]
    ) -> None:
        self._study, self._folder, self._processes, self._on_progress = study, folder, processes, on_progress
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._lock, self._stopped = threading.Lock(), False

    def run(self) -> Progress:
        """Runs every cell without a summary, and returns the grid.

        Raises:
            ConfigError: when a cell was begun with other settings.
            TrainingError: when cells failed; the others are finished and kept.
        """
        self._folder.begin(self._study)
        missing = [cell for cell in self._study.cells if not self._folder.summary(cell).exists()]
        names = {cell.slug for cell in missing}
        grid = {cell.slug: "waiting" if cell.slug in names else "finished" for cell in self._study.cells}
        progress = Progress(grid)
        self._on_progress(progress)
        with ThreadPoolExecutor(max_workers=self._processes) as pool:
            futures = {pool.submit(self._run_cell, cell, progress): cell for cell in missing}
            try:
                self._follow(futures, progress)
            except BaseException:
                self._stop()
                for future in futures:
                    future.cancel()
                raise
        if progress.failures:
            slug, reason = next(iter(progress.failures.items()))
            raise TrainingError(
                f"{len(progress.failures)} of {len(missing)} runs failed, the first is {slug}: {reason}; repeat the "
                "command to try them again"
            )
        return progress

    def _follow(self, futures: dict[Future[None], Cell], progress: Progress) -> None:
        pending: set[Future[None]] = set(futures)
        while pending:
            done, pending = wait(pending, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            for slug, state in progress.cells.items():
                if state == "running":
                    progress.steps[slug] = _lines(self._folder.path / "runs" / slug / "metrics.jsonl")
            self._on_progress(progress)

    def _run_cell(self, cell: Cell, progress: Progress) -> None:
        started = time.monotonic()
        progress.cells[cell.slug] = "running"
        status, last_line = self._train(cell)
        # The process of a study that was killed may still be in its folder.
        while IN_USE in last_line and not self._stopped:
            time.sleep(_IN_USE_SECONDS)
            status, last_line = self._train(cell)
        if self._stopped:
            return
        ended_by_method = status == 1 and any(word in last_line for word in _DIVERGED)
        if status == 0 or ended_by_method:
            seconds = time.monotonic() - started
            run = RunDir.open(self._folder.run(cell))
            stopped = last_line if ended_by_method else ""
            summary = summary_of(run, cell.variant, cell.seed, stopped=stopped, seconds=seconds)
            summary.write(self._folder.summary(cell))
            if not self._study.settings.keep_runs:
                remove_run(run.path)
            progress.seconds.append(seconds)
            progress.cells[cell.slug] = "finished"
        else:
            progress.failures[cell.slug] = last_line or f"exit status {status}"
            progress.cells[cell.slug] = "failed"

    def _train(self, cell: Cell) -> tuple[int, str]:
        """Returns the exit status of the cell's process, and the last line of its messages."""
        run, log = self._folder.run(cell), self._folder.log(cell)
        for folder in (run, log.parent):
            folder.mkdir(parents=True, exist_ok=True)
        config = log.with_suffix(".config.json")
        write_json(config, cell.config.to_json())
        command = [sys.executable, "-m", "ngrpo", "train", str(config), "--out", str(run), "--resume", "auto", "--json"]
        with log.open("ab") as output:
            with self._lock:
                if self._stopped:
                    return 130, "stopped"
                environment = os.environ | dict.fromkeys(_THREADS, "1")
                process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, process_group=0)
                self._running[cell.slug] = process
            status = process.wait()
        with self._lock:
            self._running.pop(cell.slug, None)
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return status, short_line(lines[-1]) if lines else ""

    def _stop(self) -> None:
        """Asks the running cells to save and end; kills those that have not after a minute, or on a second Ctrl-C."""
        with self._lock:
            self._stopped = True
            running = list(self._running.values())
        for process in running:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 60
        try:
            for process in running:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=max(0.1, deadline - time.monotonic()))
        finally:
            for process in running:
                process.kill()
                process.wait()


def _digest(cell: Cell) -> str:
    # What the study's file sets, without defaults: a setting that a later version adds makes no cell another one.
    tables: dict[str, Any] = cell.config.to_json(given_only=True)
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()[:16]


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def finished_cells(study: Study, folder: StudyFolder) -> Sequence[Cell]:
    """Returns the cells that have a summary."""
    return [cell for cell in study.cells if folder.summary(cell).exists()]
