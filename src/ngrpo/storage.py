"""Writing files and folders so that a killed process leaves the old state or the new one; JSON lines.

A file or folder is first written beside its final place under a hidden name that ends in `.partial`, forced
to disk, then renamed. What a killed writer leaves behind is therefore recognisable by that ending.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from ngrpo.errors import DataError

_BYTES_AT_ONCE = 1 << 16
"""How much of a file is read at a time from its end."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")

PARTIAL = ".partial"
"""How the name of everything ends that is not yet complete."""


LFS_HEAD = b"version https://git-lfs"
"""How the few lines begin that stand for a file that Git LFS has not fetched."""


def is_lfs_pointer(path: Path) -> bool:
    """Returns whether a file is the pointer of Git LFS in place of the file itself."""
    with path.open("rb") as file:
        return file.read(len(LFS_HEAD)) == LFS_HEAD


def is_file_name(name: str) -> bool:
    """Returns whether a name is safe for a file or folder: 1 to 128 of A-Z a-z 0-9 . _ -, not `.` or `..`.

    >>> is_file_name("countdown-6"), is_file_name(".."), is_file_name("a/b")
    (True, False, False)
    """
    return _NAME.fullmatch(name) is not None and name not in {".", ".."}


def partial_path(path: Path) -> Path:
    """Returns where `path` is written before it is renamed: a hidden neighbour, so on the same file system.

    >>> partial_path(Path("run/config.json")).as_posix()
    'run/.config.json.partial'
    """
    return path.with_name(f".{path.name}{PARTIAL}")


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file for writing that appears under its name only when the block ends without an error."""
    partial = partial_path(path)
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    _sync(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Gives an empty folder that takes the name `path` only when the block ends without an error.

    Every file in it is forced to disk first. A folder of that name is replaced.
    """
    partial = partial_path(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for inside in sorted(partial.rglob("*")):
            _sync(inside)
        _sync(partial)
        _rename_folder(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _sync(path.parent)


def remove_partial(folder: Path) -> None:
    """Removes what killed writers left in `folder`; only for the one process that writes there."""
    for leftover in sorted(folder.glob(f".*{PARTIAL}")):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes one JSON object, indented, in place of what was there before, in one move."""
    with atomic_file(path) as file:
        file.write(_dumped(value, indent=2) + b"\n")


def json_line(record: Mapping[str, Any]) -> bytes:
    r"""Returns one JSON object as a line of UTF-8; equal records in equal key order give equal bytes.

    NaN and infinities, which JSON does not have, become null; NumPy scalars become plain numbers; a lone
    surrogate, which UTF-8 does not have, becomes its JSON escape.

    >>> json_line({"step": 1, "policy/entropy": float("nan"), "text": "3²"}).decode()
    '{"step": 1, "policy/entropy": null, "text": "3²"}\n'
    """
    return _dumped(record) + b"\n"


def append_json_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Adds one line per record in one write, so that a reader sees whole lines at nearly all times."""
    lines = b"".join(map(json_line, records))
    with path.open("ab") as file:
        file.write(lines)


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the objects of a file of JSON lines; a torn last line, left by a killed writer, is left out.

    Raises:
        DataError: for a malformed line anywhere else, with file and line number.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                # The beginning of an object is never itself one: a line that parses is whole, newline or not.
                if not line.endswith(b"\n"):
                    return
                raise DataError(f"{path}, line {number}: not JSON") from None
            if not isinstance(record, dict):
                raise DataError(f"{path}, line {number}: expected a JSON object")
            yield record


def lines_from_end(path: Path) -> Iterator[tuple[int, bytes]]:
    r"""Yields offset and bytes of each line of a file, the last first, with its newline; reads no more than asked for.

    Args:
        path: lines that end in a newline, except perhaps the last.
    """
    with path.open("rb") as file:
        start = file.seek(0, os.SEEK_END)
        parts: list[bytes] = []  # of the line whose beginning is not found yet, its end first
        while start > 0:
            size = min(_BYTES_AT_ONCE, start)
            start -= size
            file.seek(start)
            block, end = file.read(size), size
            while (newline := block.rfind(b"\n", 0, end)) >= 0:
                line = b"".join([block[newline + 1 : end], *reversed(parts)])
                if line:
                    yield start + newline + 1, line
                parts, end = [b"\n"], newline
            parts.append(block[:end])
        if parts:
            yield 0, b"".join(reversed(parts))


def read_json_object(path: Path) -> dict[str, Any]:
    """Returns the one JSON object of a file.

    Raises:
        DataError: when it cannot be read or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a JSON object")
    return value


def _dumped(value: Mapping[str, Any], indent: int | None = None) -> bytes:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, indent=indent, default=_plain)
    except ValueError:
        text = json.dumps(_finite(value), allow_nan=False, ensure_ascii=False, indent=indent, default=_plain)
    # What "backslashreplace" writes for a lone surrogate is exactly its JSON escape.
    return text.encode("utf-8", "backslashreplace")


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"not a JSON value: {value!r}")


def _finite(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _rename_folder(partial: Path, path: Path) -> None:
    # A rename cannot replace a folder that has content: the old one first moves aside, as a partial one.
    replaced = partial_path(path.with_name(f"{path.name}.replaced"))
    shutil.rmtree(replaced, ignore_errors=True)
    if path.exists():
        path.rename(replaced)
    partial.rename(path)
    shutil.rmtree(replaced, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
