"""Rights that a grading process gives up before it grades the text of a model, and its limit of processor time."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import Any, BinaryIO

# What a fork refuses to do for the text of a model, should anything ever try; see Python's table of audit events.
_REFUSED = (
    *("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "subprocess.Popen", "os.system"),
    *("os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.remove", "os.rename", "os.mkdir"),
    *("os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown", "os.kill", "shutil."),
    *("ctypes.dlopen", "webbrowser."),
)


def private_output() -> BinaryIO:
    """Returns the pipe to the parent, and redirects standard output elsewhere: libraries may print."""
    private = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return open(private, "wb", buffering=0)  # noqa: PTH123  (a descriptor has no path)


def give_up_rights(memory_bytes: int, *, trusted: bool) -> None:
    """Silences this process and bounds its memory; unless trusted, it can no longer write any file either."""
    import resource

    os.dup2(1, 2)
    sys.dont_write_bytecode = True
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_AS: memory_bytes}
    if not trusted:
        limits[resource.RLIMIT_FSIZE] = 0
        sys.addaudithook(_refuse)
    for kind, limit in limits.items():
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some
            resource.setrlimit(kind, (limit, limit))


def limit_cpu(seconds: float) -> None:
    """Has the kernel end this process after so much more processor time; 0 lifts the limit.

    SIGPROF keeps its default action: no Python handler runs, which one long step inside sympy would hold up.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        flags = arguments[2]
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise PermissionError("the grading process writes no file")
    elif event.startswith(_REFUSED):
        raise PermissionError(f"the grading process does not {event}")
