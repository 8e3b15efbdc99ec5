"""A disk that takes no more: one line in place of a traceback."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ngrpo.errors import NgrpoError, StorageError, short_line

_REASONS = {
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "disk quota exceeded",
    errno.EFBIG: "file size limit exceeded",
    errno.EROFS: "read-only file system",
    errno.EACCES: "permission denied",
    errno.EPERM: "operation not permitted",
    errno.EIO: "input/output error",
    errno.ESTALE: "stale file handle",
}
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")


@contextmanager
def storage_errors(kept: Callable[[], str]) -> Iterator[None]:
    """Turns a failed write in the block into a StorageError.

    Args:
        kept: returns what is whole on the disk, and how to continue.
    """
    try:
        yield
    except NgrpoError:
        raise
    except Exception as error:
        number = _number_of(error)
        if number not in _REASONS:
            raise
        name = getattr(error, "filename", None)
        where = f" while writing {short_line(str(name), 200)}" if name else ""
        raise StorageError(f"{_REASONS[number]}{where}: {kept()}") from error


def _number_of(error: Exception) -> int:
    """Returns the operating system's error number, 0 for other errors; safetensors has it in its text only."""
    if isinstance(error, OSError):
        return error.errno or 0
    found = _RUST_ERROR.search(str(error)) if type(error).__name__ == "SafetensorError" else None
    return int(found[1]) if found else 0
