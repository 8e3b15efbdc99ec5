"""One writer per folder: an exclusive lock that the operating system frees when the process dies.

The lock is flock(2) on the hidden file `.lock` in the folder; the file names the holder's host and process. Networked
file systems without flock give no protection (docs/reliability.md).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ngrpo.errors import ConfigError, LockedError

LOCK = ".lock"
"""Name of the file that is locked; it is removed when its holder ends without being killed."""
IN_USE = "is in use by"
"""Words of every `LockedError`, for who reads the messages of another process."""

_UNSUPPORTED = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Makes a folder if need be and holds its lock; a folder made here that is still empty at the end is removed.

    Raises:
        ConfigError: when the folder cannot be made or written.
        LockedError: when another process holds the lock.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _acquired(folder / LOCK)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {folder}: {error.strerror}") from None
    try:
        yield
    finally:
        with suppress(OSError):  # a full or lost disk must not hide the error that ended the block
            (folder / LOCK).unlink(missing_ok=True)
        os.close(descriptor)
        if made:
            with suppress(OSError):  # not empty
                folder.rmdir()


def _acquired(path: Path) -> int:
    """Returns the descriptor of the locked file; the name is checked again, for the last holder may have removed it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
                raise LockedError(f"{path.parent} {IN_USE} {holder}: wait for it, or stop it") from None
            if error.errno not in _UNSUPPORTED:
                raise
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if _is_same_file(descriptor, path):
            with suppress(OSError):  # a full disk: the lock holds without its text
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode(), 0)
            return descriptor
        os.close(descriptor)


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    try:
        record = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {int(record['pid'])} on host {str(record['host'])[:100]!r}"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"
