"""The manifest of a checkpoint: size and SHA-256 of every file, and how far the run's logs were when it was written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ngrpo.errors import DataError
from ngrpo.storage import read_json_object, write_json

MANIFEST = "manifest.json"
_TAIL = 1 << 16
"""Bytes before a log's end whose digest is kept: enough to notice another file of the same length."""


def write_manifest(folder: Path, logs: Mapping[str, Path], *, kept: bool) -> None:
    """Describes the files of a checkpoint that is about to be complete.

    Args:
        folder: the checkpoint.
        logs: files of the run that grow beside it, by name.
        kept: false for a checkpoint that goes when a newer one is there.
    """
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": _digest(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    ends = {name: _end_of(path, path.stat().st_size) for name, path in logs.items() if path.is_file()}
    write_json(folder / MANIFEST, {"kept": kept, "files": files, "logs": ends})


def damage(folder: Path) -> str | None:
    """Returns what is wrong with a checkpoint's files, None when each one is as it was written."""
    if folder.is_symlink():  # verl's own folder
        return None
    try:
        files = dict(read_json_object(folder / MANIFEST)["files"])
        for name, entry in files.items():
            path = folder / name
            if ".." in Path(name).parts or not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != entry["bytes"]:
                return f"{name} has {path.stat().st_size} bytes in place of {entry['bytes']}"
            if _digest(path) != entry["sha256"]:
                return f"{name} has changed"
    except (DataError, OSError, ValueError, TypeError, KeyError, AttributeError):
        return f"{MANIFEST} is missing or damaged"
    return None


def is_kept(folder: Path) -> bool:
    """Returns whether a checkpoint stays when a newer one is there; so does one without a manifest."""
    try:
        return read_json_object(folder / MANIFEST).get("kept") is not False
    except DataError:
        return True


def changed_log(folder: Path, logs: Mapping[str, Path]) -> tuple[str, str] | None:
    """Returns the first log that no longer begins as it was when the checkpoint was written, and what happened to it.

    Args:
        folder: a checkpoint with a sound manifest, or none at all.
        logs: the logs to look at, by name.
    """
    try:
        ends: dict[str, Any] = dict(read_json_object(folder / MANIFEST)["logs"])
        for name, path in logs.items():
            if name not in ends:
                continue
            size = int(ends[name]["bytes"])
            if not path.is_file():
                return name, "was deleted"
            if path.stat().st_size < size:
                return name, f"was cut from {size} to {path.stat().st_size} bytes"
            if _end_of(path, size) != ends[name]:
                return name, "was changed"
    except (DataError, TypeError, ValueError, KeyError, ArithmeticError):  # no manifest, or not one of ours
        return None
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _end_of(path: Path, size: int) -> dict[str, Any]:
    start = max(0, size - _TAIL)
    with path.open("rb") as file:
        tail = os.pread(file.fileno(), size - start, start)
    return {"bytes": size, "tail_sha256": hashlib.sha256(tail).hexdigest()}
