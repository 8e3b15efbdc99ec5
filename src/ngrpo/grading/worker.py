"""The parent's side of one grading process: batches of pairs in, an outcome for each out, whatever the process does.

Processor time decides whether a pair took too long: the kernel ends the process at the limit. A process that sleeps is
killed at the same limit, one that waits for a processor is given `WALL_FACTOR` times as long.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ngrpo.errors import GradingError
from ngrpo.grading.server import Request, progress_of
from ngrpo.grading.watch import CHECK_SECONDS, WALL_FACTOR, Failure, Watch
from ngrpo.types import Grade

START_SECONDS = 120.0
"""Until a new process has loaded sympy or a custom grader; about a second on an idle machine, more on a cold disk."""
STARTS = 5
"""How often a process is started that is killed from outside before it is ready."""
STOP_SECONDS = 0.2
"""Until a process that was told to end is killed."""

_INHERITED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "LANG", "LC_ALL")
_PIPE_BYTES, _LONGEST_POLL = 1 << 16, 2**31 - 1


class _End(NamedTuple):
    """What ended an exchange early: why the request `at` has no grade; None where it is only to be asked again."""

    failure: Failure | None
    at: int


class Worker:
    """One grading process: started when first needed, and again after it was killed.

    Not safe for two threads at once; `GraderPool` lends a worker to one at a time.

    Args:
        settings: what `ngrpo.grading.server` needs: grader, max_reward, seconds, memory_bytes, path.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._progress: mmap.mmap | None = None
        self._unread = b""
        self._serving = 0
        self._batch = 0
        self._owner = 0

    def grade(self, requests: Sequence[Request], stopped: threading.Event) -> list[Grade | Failure]:
        """Returns the outcome of each request, in order; after `stopped` was set, of some of them only.

        Raises:
            GradingError: when no process can be started.
        """
        outcomes: dict[int, Grade | Failure] = {}
        while (left := [n for n in range(len(requests)) if n not in outcomes]) and not stopped.is_set():
            grades, end = self._exchange([requests[n] for n in left])
            outcomes.update(zip(left, grades, strict=False))
            if end is not None and end.failure is not None:
                # Those before it may have been graded and not yet sent: they are asked again.
                outcomes[left[max(end.at, len(grades))]] = end.failure
        return [outcomes[n] for n in sorted(outcomes)]

    @property
    def is_running(self) -> bool:
        """True while there is a process of this program's."""
        return self._process is not None and self._owner == os.getpid() and self._process.poll() is None

    def start(self) -> None:
        """Starts the process if none runs.

        Raises:
            GradingError: when it cannot be started, or cannot load the custom grader.
        """
        if self.is_running:
            return
        for _ in range(STARTS):
            complaint = self._started()
            if complaint is None:
                return
            if complaint:
                raise GradingError(complaint)
        raise GradingError(f"the grading process did not start: it was killed {STARTS} times")

    def _started(self) -> str | None:
        """Starts a process; returns None when it is ready, what is wrong, or "" when it was killed from outside."""
        self.stop()
        self._owner, self._unread = os.getpid(), b""
        with tempfile.TemporaryFile() as file:
            file.truncate(mmap.PAGESIZE)
            self._progress = mmap.mmap(file.fileno(), mmap.PAGESIZE)
            self._process = _new_process(file.fileno())
            self._write(json.dumps({**self._settings, "progress": file.fileno()}).encode() + b"\n")
            message = self._message(time.monotonic() + START_SECONDS)
        if message is not None and message is not _SILENT:
            if "ready" in message:
                return None
            self.stop()
            return f"the grader {self._settings['grader']} cannot be loaded: {message['failed']}"
        process = self._process
        self.kill()
        complaint = process.stderr.read().decode("utf-8", "replace").strip() if process.stderr else ""
        self.stop()
        if message is None and process.returncode == -signal.SIGKILL and not complaint:
            return ""
        reason = complaint.rpartition("\n")[2] or f"not ready within {START_SECONDS:.0f} s"
        return f"the grading process did not start: {reason}"

    def stop(self) -> None:
        """Ends the process if there is one; does nothing in a fork of the process that started it."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        pipes = [pipe for pipe in (process.stdin, process.stdout, process.stderr) if pipe is not None]
        with contextlib.suppress(OSError):
            pipes[0].close()  # an idle worker ends at the end of its input, and then leaves no zombie behind
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        _kill(process)  # its fork too, which may live when the process was killed from outside
        process.wait()
        for pipe in pipes[1:]:
            pipe.close()

    def kill(self) -> None:
        """Kills the process at once; may be called while another thread waits in `grade`."""
        if self._process is not None and self._owner == os.getpid():
            _kill(self._process)

    def _exchange(self, requests: Sequence[Request]) -> tuple[list[Grade], _End | None]:
        """Returns the grades that came back and what ended the exchange early, None when nothing did."""
        self.start()
        self._batch += 1
        grades: list[Grade] = []
        watch = Watch(self._settings["seconds"])
        try:
            self._write(json.dumps([self._batch, requests]).encode() + b"\n")
            while len(grades) < len(requests):
                message = self._message(time.monotonic() + CHECK_SECONDS)
                if message is _SILENT:
                    at = self._reached()
                    if failure := watch.failure(at, self._serving):
                        self.kill()
                        self.stop()
                        return grades, _End(failure, at)
                elif message is None:
                    at = self._reached()
                    self.stop()
                    return grades, _End(Failure.CRASH, at)
                elif message["batch"] != self._batch:
                    # From a fork that was killed while idle, which may have taken this batch into its grave, or what
                    # was left of a batch that was given up.
                    if "ended" in message and self._reached() < 0:
                        return grades, _End(None, -1)
                elif "grades" in message:
                    grades += [Grade(*each) for each in message["grades"]]
                else:
                    return grades, _End(watch.meaning_of(message["ended"], message["at"]), message["at"])
        except BaseException:
            self.stop()
            raise
        return grades, None

    def _reached(self) -> int:
        assert self._progress is not None  # noqa: S101  (told to mypy: `start` made it)
        return progress_of(self._progress, self._batch)

    def _write(self, data: bytes) -> None:
        """Writes all of it, or nothing more once the process is gone or does not read: the reader finds that out."""
        assert self._process is not None  # noqa: S101  (told to mypy)
        assert self._process.stdin is not None  # noqa: S101
        pipe = self._process.stdin.fileno()
        os.set_blocking(pipe, False)
        poll, view = select.poll(), memoryview(data)
        poll.register(pipe, select.POLLOUT)
        with contextlib.suppress(OSError):
            while view and poll.poll(min(1e3 * WALL_FACTOR * self._settings["seconds"], _LONGEST_POLL)):
                view = view[os.write(pipe, view[:_PIPE_BYTES]) :]

    def _message(self, due: float) -> Any:
        """Returns the next message: None when the process is gone, `_SILENT` when none came in time."""
        assert self._process is not None  # noqa: S101  (told to mypy)
        assert self._process.stdout is not None  # noqa: S101
        pipe = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        while True:
            line, newline, rest = self._unread.partition(b"\n")
            if newline:
                self._unread = rest
                message = json.loads(line)
                if "serving" not in message:
                    return message
                self._serving = message["serving"]
            elif not poll.poll(max(0.0, 1e3 * (due - time.monotonic()))):
                return _SILENT
            elif data := os.read(pipe, _PIPE_BYTES):
                self._unread += data
            else:
                return None


_SILENT = object()


def _new_process(progress: int) -> subprocess.Popen[bytes]:
    if not hasattr(os, "fork"):
        raise GradingError("grading needs processes that fork: Linux, macOS or WSL")
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", "from ngrpo.grading.server import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            pass_fds=(progress,),
            start_new_session=True,  # Ctrl-C in the terminal reaches the parent alone, which stops the worker
        )
    except OSError as error:
        raise GradingError(f"no grading process can be started: {error}") from None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kills a worker and the child that serves in its place: they are the only ones of their session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    package = str(Path(__file__).parents[2])
    return kept | {
        "PYTHONPATH": os.pathsep.join([package, *filter(None, sys.path)]),
        "PYTHONHASHSEED": "0",  # sympy's simplification follows the order of sets
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
