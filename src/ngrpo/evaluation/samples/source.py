"""Opening what a user names: a file, standard input (-), a pipe or process substitution; .gz is unpacked."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from ngrpo.errors import DataError

STDIN = "-"
IN_MEMORY = 64 * 2**20
"""Bytes of a pipe or an unpacked file that are kept in memory; larger ones are on disk."""

_kept: dict[str, IO[bytes]] = {}
"""What pipes held: they can be read once, and --by, --cluster and --majority read a file again."""


def opened(path: Path) -> contextlib.AbstractContextManager[IO[bytes]]:
    """Returns the file of a path at its beginning, seekable, unpacked if it is gzip.

    Raises:
        DataError: for a path that cannot be read, and for a damaged gzip file.
    """
    if str(path) in _kept:
        return _rewound(_kept[str(path)])
    try:
        if str(path) == STDIN:
            return _rewound(_keep(path, sys.stdin.buffer))
        file = path.open("rb")
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            with file:
                return _rewound(_keep(path, file))
        if file.peek(2)[:2] == b"\x1f\x8b":
            with file:
                return _unpacked(path, file)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    return file


def size_of(file: IO[bytes]) -> int:
    """Returns the bytes of a seekable file, and goes to its beginning."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def _keep(path: Path, file: IO[bytes]) -> IO[bytes]:
    spooled = _spooled()
    shutil.copyfileobj(file, spooled)
    spooled.seek(0)
    if spooled.read(2) == b"\x1f\x8b":
        spooled.seek(0)
        with spooled:
            spooled = _unpacked(path, spooled)
    _kept[str(path)] = spooled
    return spooled


def _unpacked(path: Path, file: IO[bytes]) -> IO[bytes]:
    unpacked = _spooled()
    try:
        shutil.copyfileobj(gzip.GzipFile(fileobj=file, mode="rb"), unpacked, 2**20)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        unpacked.close()
        raise DataError(f"cannot read {path}: damaged gzip file ({error})") from None
    unpacked.seek(0)
    return unpacked


def _spooled() -> IO[bytes]:
    return cast("IO[bytes]", tempfile.SpooledTemporaryFile(max_size=IN_MEMORY))


@contextlib.contextmanager
def _rewound(file: IO[bytes]) -> Iterator[IO[bytes]]:
    file.seek(0)
    yield file
