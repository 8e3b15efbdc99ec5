"""`RunDir`: the only reader and writer of a run folder.

    RUN/
      config.json                  resolved config, versions, seed, platform
      metrics.jsonl                a line per step
      rollouts.jsonl               a line per completion
      eval/000050/countdown/       samples.jsonl, summary.json
      checkpoints/step_000050/     a Hugging Face model folder plus optimiser, trainer state and manifest.json

One process writes a run folder, any number may read it meanwhile. JSON and safetensors only: nothing in a
run folder can execute code when it is read.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from ngrpo.errors import CheckpointError, ConfigError, DataError
from ngrpo.runs.folder_state import CONFIG, JOURNAL, has_results, journals, make_free_folder, remove_run
from ngrpo.runs.manifest import changed_log, damage, is_kept, write_manifest
from ngrpo.runs.truncation import keep_until
from ngrpo.storage import (
    append_json_lines,
    atomic_folder,
    is_file_name,
    partial_path,
    read_json_lines,
    read_json_object,
    remove_partial,
    write_json,
)

_CHECKPOINT = re.compile(r"step_(\d{6,})")
_RECORDED_PACKAGES = ("ngrpo", "torch", "transformers", "tokenizers", "numpy", "peft", "math-verify")


@dataclass(frozen=True, slots=True)
class EvaluationSummary:
    """What eval/STEP/TASK/summary.json says."""

    step: int
    task: str
    summary: dict[str, Any]


class RunDir:
    """A run folder; made with `create` (a new run) or `open` (an existing one)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_path = path / CONFIG
        self.metrics_path = path / "metrics.jsonl"
        self.rollouts_path = path / "rollouts.jsonl"
        self.checkpoints_path = path / "checkpoints"
        self.verl_path = path / "verl"
        self._damages: dict[Path, str | None] = {}

    @classmethod
    def create(
        cls,
        path: str | Path,
        config: Mapping[str, Any],
        *,
        seed: int,
        extra: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> Self:
        """Makes the folder and its config.json.

        Args:
            path: a folder that does not exist yet, is empty, or holds nothing but a config.
            config: the resolved config as plain JSON values, under the key "config".
            seed: the seed of the run, repeated at the top level for readers that know no config.
            extra: further top-level keys, such as the fingerprint; they cannot replace those above.
            overwrite: remove the run that the folder holds; files that are no part of a run stay.

        Raises:
            ConfigError: when the folder holds more than a config, or cannot be made.
        """
        run = cls(Path(path))
        if overwrite and run.config_path.is_file():
            remove_run(run.path)
        else:
            make_free_folder(run.path)
        record = {
            **(extra or {}),
            "config": config,
            "versions": installed_versions(),
            "seed": seed,
            "platform": platform.platform(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_json(run.config_path, record)
        return run

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Returns an existing run folder and changes nothing in it.

        Raises:
            DataError: when it is missing or has no config.json.
        """
        run = cls(Path(path))
        if not run.path.is_dir():
            raise DataError(f"no run folder at {path}")
        if not run.config_path.is_file():
            raise DataError(f"{path} is not a run folder: it has no config.json")
        return run

    def remove_if_unused(self) -> None:
        """Removes config.json, and the folder if that leaves it empty, of a run without any result."""
        if not has_results(self.path):
            self.config_path.unlink(missing_ok=True)
            with suppress(OSError):  # not empty
                self.path.rmdir()

    def read_config(self) -> dict[str, Any]:
        """Returns config.json: `config`, `versions`, `seed`, `platform`, `started` and the extra keys."""
        return read_json_object(self.config_path)

    def append_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Adds the line of one step, keys in the given order, NaN as null; `metrics` holds the key `step`."""
        append_json_lines(self.metrics_path, [metrics])

    def append_rollouts(self, rollouts: Iterable[Mapping[str, Any]]) -> None:
        """Adds a line per completion of one step in one write; each holds the key `step`."""
        append_json_lines(self.rollouts_path, rollouts)

    def read_metrics(self) -> list[dict[str, Any]]:
        """Returns the lines of metrics.jsonl, without a torn last one; none when no step was finished."""
        return list(_lines_if_any(self.metrics_path))

    def read_rollouts(self) -> Iterator[dict[str, Any]]:
        """Yields the lines of rollouts.jsonl one at a time, for the file can be large."""
        return _lines_if_any(self.rollouts_path)

    def truncate_after(self, step: int) -> None:
        """Prepares a resume: drops lines of later steps, a torn last line, and what is unfinished.

        metrics.jsonl and rollouts.jsonl are each cut at one place, which is looked for from their ends: a long run
        resumes as fast as a short one. Checkpoints and evaluations of later steps stay until they are written again.

        Raises:
            DataError: for a malformed line among those that are dropped, or one without a step.
        """
        for path in (self.metrics_path, self.rollouts_path):
            if path.is_file():
                keep_until(path, step)
        remove_partial(self.path)
        remove_partial(self.checkpoints_path)

    def journal_path(self, rank: int = 0) -> Path:
        """Returns where a rank keeps the completions of the running step."""
        return self.path / (f"{JOURNAL}.{rank}" if rank else JOURNAL)

    def remove_journals(self) -> None:
        """Removes the journals of all ranks."""
        for path in journals(self.path):
            path.unlink(missing_ok=True)

    def checkpoint_path(self, step: int) -> Path:
        """Returns where the checkpoint of `step` is, or would be."""
        return self.checkpoints_path / f"step_{step:06d}"

    def checkpoints(self) -> list[tuple[int, Path]]:
        """Returns step and path of every complete checkpoint, oldest first."""
        if not self.checkpoints_path.is_dir():
            return []
        found = []
        for path in self.checkpoints_path.iterdir():
            match = _CHECKPOINT.fullmatch(path.name)
            if match and path.is_dir():
                found.append((int(match[1]), path))
        return sorted(found)

    def latest_checkpoint(self) -> tuple[int, Path] | None:
        """Returns step and path of the newest complete checkpoint, or None before the first."""
        return max(self.checkpoints(), default=None)

    def damage(self, checkpoint: Path) -> str | None:
        """Returns what is wrong with a checkpoint's files, None when they are whole; each is read once per process."""
        if checkpoint not in self._damages:
            self._damages[checkpoint] = damage(checkpoint)
        return self._damages[checkpoint]

    def check_logs(self, checkpoint: Path, *, rollouts: bool) -> None:
        """Compares metrics.jsonl and, if `rollouts`, rollouts.jsonl with what they were at a checkpoint.

        Raises:
            CheckpointError: when one was deleted, cut or changed.
        """
        names = [self.metrics_path, *([self.rollouts_path] if rollouts else [])]
        changed = changed_log(checkpoint, {path.name: path for path in names})
        if changed is None:
            return
        name, what = changed
        without = ", continue without with --set run.keep_rollouts=false" if name == self.rollouts_path.name else ""
        raise CheckpointError(
            f"{self.path / name} {what} since checkpoint {checkpoint.name}: restore it{without}, or start over with "
            "--overwrite"
        )

    def prune_checkpoints(self, keep: int, best: int | None) -> None:
        """Removes checkpoints that a newer one replaces: those that are not kept, and all but the newest `keep`.

        Args:
            keep: how many of those that are kept stay; 0 for all.
            best: step of one that stays in any case, such as the best by evaluation.
        """
        checkpoints = self.checkpoints()
        kept = [step for step, path in checkpoints if is_kept(path)]
        stay = {best, *(kept[-keep:] if keep else kept), *(step for step, _ in checkpoints[-1:])}
        for step, path in checkpoints:
            if step not in stay:
                hidden = path.rename(partial_path(path))  # at once, or a killed removal would leave a torn checkpoint
                shutil.rmtree(hidden)
                self._damages.pop(path, None)

    @contextmanager
    def new_checkpoint(self, step: int, *, kept: bool = True) -> Iterator[Path]:
        """Gives an empty folder that becomes the checkpoint of `step` when the block ends without an error.

        On an error it is removed; after a kill it is ignored, and removed when the next checkpoint is
        written. The lines of all steps so far reach the disk first: a checkpoint never outlives its metrics. A manifest
        with the digest of every file is added. `kept` is false for a checkpoint that goes when a newer one is there.
        """
        remove_partial(self.checkpoints_path)
        for path in (self.metrics_path, self.rollouts_path):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        path = self.checkpoint_path(step)
        with atomic_folder(path) as folder:
            yield folder
            write_manifest(folder, {log.name: log for log in (self.metrics_path, self.rollouts_path)}, kept=kept)
        self._damages.pop(path, None)

    def evaluation_dir(self, step: int, task: str) -> Path:
        """Returns the folder eval/STEP/TASK, made if need be, for samples.jsonl and summary.json.

        Raises:
            ConfigError: when the task's name is not fit for a folder.
        """
        folder = self.path / "eval" / f"{step:06d}" / checked_name(task, "the task name")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def write_summary(self, step: int, task: str, summary: Mapping[str, Any]) -> None:
        """Writes eval/STEP/TASK/summary.json; written last, it marks the evaluation as complete."""
        write_json(self.evaluation_dir(step, task) / "summary.json", summary)

    def read_summaries(self) -> list[EvaluationSummary]:
        """Returns the summary of every complete evaluation, by step, then task."""
        return [
            EvaluationSummary(int(path.parts[-3]), path.parts[-2], read_json_object(path))
            for path in sorted(self.path.glob("eval/*/*/summary.json"))
            if path.parts[-3].isdecimal()
        ]


def checked_name(name: str, what: str = "the name") -> str:
    """Returns `name` if it is safe as the name of a file or folder.

    >>> checked_name("countdown-6")
    'countdown-6'

    Raises:
        ConfigError: unless it is 1 to 128 letters, digits, dots, underscores and dashes, and not `.` or `..`.
    """
    if not is_file_name(name):
        shown = name if len(name) <= 140 else name[:137] + "..."
        raise ConfigError(f"{what} {shown!r} cannot name a folder; allowed: 1 to 128 of A-Z a-z 0-9 . _ -")
    return name


def installed_versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that decide results, read without importing any."""
    versions = {"python": platform.python_version()}
    for package in _RECORDED_PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _lines_if_any(path: Path) -> Iterator[dict[str, Any]]:
    return read_json_lines(path) if path.is_file() else iter(())
