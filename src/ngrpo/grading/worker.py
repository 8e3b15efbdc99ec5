"""A process of its own for math-verify, whose parsing and simplification may hang, crash or eat the memory.

The parent holds a `Worker`; the process runs `serve`. They exchange JSON lines over pipes: the process is an
interpreter of its own with a scrubbed environment, not a fork of the trainer, and does not import the main
script.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ngrpo.errors import GradingError
from ngrpo.grading.equivalence import Verdict

START_SECONDS = 120.0
"""Until a new process has imported sympy; about one second on an idle machine, more on a cold disk."""
STOP_SECONDS = 0.2
"""Until a process that was told to end is killed."""
WALL_FACTOR = 4.0
"""Wall-clock limit over the limit of processor time: a busy machine may stretch a comparison this much."""
MEMORY_BYTES = 4 << 30
"""Address space of the process."""

_INHERITED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "LANG", "LC_ALL")
_OUT_OF_TIME = getattr(signal, "SIGPROF", 0)
_TIMEOUT = Verdict("ungraded", "timeout")
_CRASH = Verdict("ungraded", "crash")


class Worker:
    """The parent's side of one grading process: started when first needed, anew after a timeout or crash.

    Not safe for two threads at once; `GraderPool` lends a worker to one at a time.
    """

    def __init__(self, timeout_seconds: float, policy: str = "strict") -> None:
        self._policy = policy
        self._timeout_seconds = timeout_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._asked = 0

    def compare(self, answer: str, reference: str) -> Verdict:
        """Returns the verdict by sympy, or `ungraded` with the reason `timeout`, `memory`, `undecided` or `crash`.

        Raises:
            GradingError: when no process can be started.
        """
        verdict = self._ask(answer, reference)
        # A process may have been killed from outside, which says nothing about this pair: asked once more.
        return self._ask(answer, reference) if verdict is _CRASH else verdict

    def stop(self) -> None:
        """Ends the process if there is one; does nothing in a fork of the process that started it."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        pipes = [pipe for pipe in (process.stdin, process.stdout, process.stderr) if pipe is not None]
        with contextlib.suppress(OSError):
            pipes[0].close()  # an idle worker ends at the end of its input, and then leaves no zombie behind
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _kill(process)
            process.wait()
        for pipe in pipes[1:]:
            pipe.close()

    def _ask(self, answer: str, reference: str) -> Verdict:
        process = self._running()
        self._asked += 1
        request: dict[str, Any] = {"id": self._asked, "answer": answer, "reference": reference, "policy": self._policy}
        request["seconds"] = self._timeout_seconds
        reply, overdue = self._exchange(process, request, WALL_FACTOR * self._timeout_seconds)
        if overdue or not reply:
            self.stop()
            return _TIMEOUT if overdue else _CRASH
        if "ended" in reply:
            return _TIMEOUT if reply["ended"] == -_OUT_OF_TIME else _CRASH
        if "failed" in reply:
            return Verdict("ungraded", reply["failed"])
        return Verdict("correct" if reply["equal"] else "wrong", "sympy" if self._policy == "strict" else "math-verify")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._owner == os.getpid() and self._process.poll() is None:
            return self._process
        self.stop()
        self._owner = os.getpid()
        self._process = process = _new_process()
        ready, overdue = self._exchange(process, None, START_SECONDS)
        if not ready or overdue:
            if process.poll() is None:
                _kill(process)
            complaint = process.stderr.read().decode("utf-8", "replace").strip() if process.stderr else ""
            self.stop()
            reason = complaint.rpartition("\n")[2] or f"not ready within {START_SECONDS:.0f} s"
            raise GradingError(f"the grading process did not start: {reason}")
        return process

    def _exchange(
        self, process: subprocess.Popen[bytes], request: dict[str, Any] | None, seconds: float
    ) -> tuple[dict[str, Any], bool]:
        """Returns the reply to a request (empty if the process died) and whether it was killed for being late."""
        assert process.stdin is not None  # noqa: S101  (told to mypy: both are pipes)
        assert process.stdout is not None  # noqa: S101
        reply: dict[str, Any] = {}
        try:
            with _killed_after(process, seconds) as overdue:
                if request is not None:
                    process.stdin.write(json.dumps(request).encode() + b"\n")
                    process.stdin.flush()
                for line in process.stdout:
                    reply = json.loads(line)
                    # A child killed while idle was reported too late for its own request: older replies are skipped.
                    if request is None or "ended" in reply or reply["id"] == request["id"]:
                        break
                    reply = {}
        except BrokenPipeError:
            return {}, False
        except BaseException:
            self.stop()
            raise
        return reply, overdue.is_set()


@contextlib.contextmanager
def _killed_after(process: subprocess.Popen[bytes], seconds: float) -> Iterator[threading.Event]:
    overdue = threading.Event()

    def kill() -> None:
        overdue.set()
        _kill(process)

    watchdog = threading.Timer(seconds, kill)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield overdue
    finally:
        watchdog.cancel()
        watchdog.join()  # so that it is settled whether it fired


def _new_process() -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", "from ngrpo.grading.worker import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            start_new_session=True,  # Ctrl-C in the terminal reaches the parent alone, which stops the worker
        )
    except OSError as error:
        raise GradingError(f"no grading process can be started: {error}") from None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kills a worker and the child that serves in its place: they are the only ones of their session."""
    if hasattr(os, "killpg"):
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


def serve() -> None:
    """The process's main function: answers each line of standard input until that ends.

    A fork does so, and a new fork after one that died, which takes milliseconds where importing sympy takes a
    second.
    """
    with _private_output() as replies:
        # Here and not above: the parent needs nothing of it.
        from ngrpo.grading.symbolic import prepare_math_verify

        prepare_math_verify()
        _give_up_rights()
        _reply(replies, ready=True)
        if not hasattr(os, "fork"):
            _answer_requests(replies)
            return
        while (status := _status_of_fork(replies)) != 0:
            _reply(replies, ended=status)


def _status_of_fork(replies: BinaryIO) -> int:
    """Returns 0 when standard input ended, minus the signal that ended the fork, or its positive exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        _answer_requests(replies)
        status = 0
    finally:
        os._exit(status)


def _answer_requests(replies: BinaryIO) -> None:
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _limit_cpu(request["seconds"])
        result = _result(request["answer"], request["reference"], request["policy"])
        _limit_cpu(0)
        _reply(replies, id=request["id"], **result)


def _result(answer: str, reference: str, policy: str) -> dict[str, object]:
    from ngrpo.grading.symbolic import symbolically_equal

    try:
        equal = symbolically_equal(answer, reference, policy)
    except MemoryError:
        return {"failed": "memory"}
    except RecursionError:
        return {"failed": "nested too deep"} if _is_too_deep(reference, policy) else {"equal": False}
    return {"failed": "undecided"} if equal is None else {"equal": equal}


def _is_too_deep(reference: str, policy: str) -> bool:
    """True when the reference alone cannot be read; else the answer is at fault, and shall not escape as ungraded."""
    from ngrpo.grading.symbolic import symbolically_equal

    try:
        symbolically_equal("0", reference, policy)
    except RecursionError:
        return True
    return False


def _reply(replies: BinaryIO, **values: object) -> None:
    replies.write(json.dumps(values).encode() + b"\n")


def _private_output() -> BinaryIO:
    """Returns the pipe to the parent, and turns standard output away from it: libraries may print."""
    private = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return open(private, "wb", buffering=0)  # noqa: PTH123  (a descriptor has no path)


def _give_up_rights() -> None:
    """From here on the process says nothing, can write no file, and its memory is bounded."""
    os.dup2(1, 2)
    sys.dont_write_bytecode = True
    with contextlib.suppress(ImportError):
        import resource

        for kind, limit in (
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_AS, MEMORY_BYTES),
        ):
            with contextlib.suppress(ValueError, OSError):  # macOS refuses some
                resource.setrlimit(kind, (limit, limit))


def _limit_cpu(seconds: float) -> None:
    """The kernel ends this process when it has used so much more processor time; 0 lifts the limit.

    SIGPROF keeps its default action: no Python handler runs, which one long step inside sympy would hold up.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)
