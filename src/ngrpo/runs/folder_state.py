"""What a folder holds before a run begins in it: nothing, a config alone, a run, or files of somebody else."""

from __future__ import annotations

import shutil
from pathlib import Path

from ngrpo.errors import ConfigError
from ngrpo.folder_lock import LOCK
from ngrpo.storage import PARTIAL, remove_partial

CONFIG = "config.json"
JOURNAL = ".rollouts.journal"
RESULTS = ("checkpoints", "verl", "metrics.jsonl", "rollouts.jsonl", "eval", "tensorboard", "report.html")
"""Everything that a run writes but its config; checkpoints first, so that none outlives its metrics in a removal."""


def has_results(path: Path) -> bool:
    """Returns whether a step, an evaluation, a checkpoint or a part of one was written."""
    return any((path / name).exists() for name in RESULTS) or any(journals(path))


def journals(path: Path) -> list[Path]:
    """Returns the journals of completions, one for each rank that a run had."""
    return sorted(path.glob(f"{JOURNAL}*"))


def make_free_folder(path: Path) -> None:
    """Makes a folder for a new run; one that holds nothing but a config is taken over.

    Raises:
        ConfigError: when it holds anything else, or cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        others = sorted(entry.name for entry in path.iterdir() if not _is_taken_over(entry))
        is_run = has_results(path)
        remove_partial(path)
    except OSError as error:
        raise ConfigError(f"cannot make the run folder {path}: {error.strerror}") from None
    if others and is_run:
        raise ConfigError(
            f"{path} holds a run: continue it with --resume, replace it with --overwrite, or choose another --out"
        )
    if others:
        raise ConfigError(f"the folder {path} is not empty (it holds {others[0]!r}): choose another --out")


def remove_run(path: Path) -> None:
    """Removes what a run wrote; files that are no part of a run stay."""
    for entry in (*(path / name for name in RESULTS), *journals(path), path / CONFIG):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
    remove_partial(path)


def _is_taken_over(path: Path) -> bool:
    """Returns whether a new run may begin beside this file: a config, a lock, or what a killed writer left."""
    left_over = path.name.startswith(".") and path.name.endswith(PARTIAL)
    return path.name in {CONFIG, LOCK} or (path.suffix == ".toml" and path.is_file()) or left_over
