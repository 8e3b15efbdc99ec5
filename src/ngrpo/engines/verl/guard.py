"""Runs a command, and ends all that it started when whoever asked for it is gone, even by a kill.

`python -m ngrpo.engines.verl.guard COMMAND ...`, in a process group of its own; its status is the command's. The
standard library alone: it starts in a moment and stays small for as long as the command runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

SECONDS_TO_END = 20.0
"""Given to the group between the request and the kill."""
_SECONDS_BETWEEN_LOOKS = 0.2
_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux's prctl: what this process is sent when its parent is no more."""


def main(command: Sequence[str]) -> int:
    """Returns the status of a command; does not return when it was asked to end."""
    asked = False

    def ask(*_: Any) -> None:
        nonlocal asked
        asked = True

    signal.signal(signal.SIGTERM, ask)
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)
    process = subprocess.Popen(command)
    while process.poll() is None:
        if asked or os.getppid() != parent:
            _end_group(process)
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _end_group(process: subprocess.Popen[bytes]) -> None:
    os.killpg(0, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(SECONDS_TO_END)
    os.killpg(0, signal.SIGKILL)  # this process with it


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
