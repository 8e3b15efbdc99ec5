"""The grading process: judges the pairs that its parent, `ngrpo.grading.worker`, sends, and may be killed at any time.

A first process loads what judging needs and forks; the fork judges. After a fork that died comes a new one, which takes
milliseconds where importing sympy takes a second. sympy itself is loaded when the first pair needs it: the fork then
ends with `NEEDS_SYMPY`, and the next one has it.

Both ends exchange JSON lines. To the process: first a table of settings, then batches, `[NUMBER, REQUESTS]`. From it:
`{"ready": true}`, `{"serving": PID}` from each fork, `{"batch": NUMBER, "judged": JUDGEMENTS}` with the next few of a
batch, and, when a fork ended, `{"batch": NUMBER, "at": INDEX, "ended": STATUS}` with the request that it was at.
"""

from __future__ import annotations

import contextlib
import gc
import json
import mmap
import os
import signal
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

from ngrpo.grading.policies import POLICIES, is_verifier
from ngrpo.grading.verifiers import Judgement, judgement, load_verifier

INPUT_ENDED, NEEDS_SYMPY = 86, 87
FLUSH_SECONDS = 0.005
"""Judgements are sent together when this much time has passed: each sending wakes the parent."""

Request = Sequence[Any]
Judge = Callable[[Request], Judgement]

_PROGRESS = struct.Struct("qq")
# What a fork refuses to do for the text of a model, should anything ever try; see Python's table of audit events.
_REFUSED = (
    *("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "subprocess.Popen", "os.system"),
    *(
        "os.exec",
        "os.posix_spawn",
        "os.spawn",
        "os.fork",
        "os.forkpty",
        "os.remove",
        "os.rename",
        "os.mkdir",
        "os.rmdir",
    ),
    *(
        "os.link",
        "os.symlink",
        "os.truncate",
        "os.chmod",
        "os.chown",
        "os.kill",
        "shutil.",
        "ctypes.dlopen",
        "webbrowser.",
    ),
)


class _NeedsSympyError(Exception):
    """The pair cannot be judged before sympy is loaded."""


def serve() -> None:
    """The process's main function: judges until standard input ends."""
    with _private_output() as replies:
        settings = json.loads(sys.stdin.buffer.readline())
        with mmap.mmap(settings["progress"], _PROGRESS.size) as progress:
            sys.path.extend(settings["path"])
            try:
                judge = _judge(settings)
            except BaseException as error:  # noqa: BLE001  (a user's module may raise anything, SystemExit too)
                _reply(replies, {"failed": f"{type(error).__name__}: {error}"})
                return
            _reply(replies, {"ready": True})
            while (status := _status_of_fork(settings, judge, replies, progress)) != INPUT_ENDED:
                if status == NEEDS_SYMPY:
                    _load_sympy()
                batch, at = _PROGRESS.unpack_from(progress)
                _PROGRESS.pack_into(progress, 0, 0, -1)
                _reply(replies, {"batch": batch, "at": at, "ended": status})


def progress_of(progress: mmap.mmap, batch: int) -> int:
    """Returns the index of the request of a batch that the process is at, -1 when it has not begun with that batch."""
    number, at = _PROGRESS.unpack_from(progress)
    return int(at) if number == batch else -1


def _judge(settings: Mapping[str, Any]) -> Judge:
    policy, best = settings["policy"], settings["max_reward"]
    if is_verifier(policy):
        verifier = load_verifier(policy, best)
        return lambda request: _verified(verifier, request, best)
    if policy == "math-verify":
        _load_sympy()
    return lambda request: _compared(request, policy, best)


def _verified(verifier: Callable[..., Any], request: Request, max_reward: float) -> Judgement:
    completion, reference, metadata = request
    try:
        return judgement(verifier(completion, reference, metadata), max_reward)
    except MemoryError:
        return Judgement("ungraded", "memory")
    except BaseException as error:  # noqa: BLE001  (SystemExit, KeyboardInterrupt: whatever it is, it is the verifier's)
        return Judgement("ungraded", f"verifier raised {type(error).__name__}: {error}"[:200])


def _compared(request: Request, policy: str, max_reward: float) -> Judgement:
    answer, reference = request
    verdict = POLICIES[policy].settle(answer, reference)
    if verdict is not None:
        return Judgement(*verdict, max_reward if verdict.status == "correct" else 0.0)
    if "sympy" not in sys.modules:
        raise _NeedsSympyError
    return _by_sympy(answer, reference, policy, max_reward)


def _by_sympy(answer: str, reference: str, policy: str, max_reward: float) -> Judgement:
    from ngrpo.grading.sympy_grader import symbolically_equal

    try:
        equal = symbolically_equal(answer, reference, policy)
    except MemoryError:
        return Judgement("ungraded", "memory")
    except RecursionError:
        if _is_too_deep(reference, policy):
            return Judgement("ungraded", "nested too deep")
        equal = False
    if equal is None:
        return Judgement("ungraded", "undecided")
    rule = "sympy" if policy == "strict" else policy
    return Judgement("correct", rule, max_reward) if equal else Judgement("wrong", rule)


def _is_too_deep(reference: str, policy: str) -> bool:
    """True when the reference alone cannot be read; else the answer is at fault, and shall not escape as ungraded."""
    from ngrpo.grading.sympy_grader import symbolically_equal

    try:
        symbolically_equal("0", reference, policy)
    except RecursionError:
        return True
    return False


def _load_sympy() -> None:
    from ngrpo.grading.sympy_grader import prepare_math_verify

    prepare_math_verify()


def _status_of_fork(settings: Mapping[str, Any], judge: Judge, replies: BinaryIO, progress: mmap.mmap) -> int:
    """Returns the exit status of a new fork that judges, or minus the signal that ended it."""
    # The fork shares what is loaded: were its garbage collector to walk through it, every page would be copied.
    gc.collect()
    gc.freeze()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        _give_up_rights(settings["memory_bytes"], trusted=is_verifier(settings["policy"]))
        _reply(replies, {"serving": os.getpid()})
        _judge_batches(judge, settings["seconds"], replies, progress)
        status = INPUT_ENDED
    except _NeedsSympyError:
        status = NEEDS_SYMPY
    finally:
        os._exit(status)


def _judge_batches(judge: Judge, seconds: float, replies: BinaryIO, progress: mmap.mmap) -> None:
    for line in sys.stdin.buffer:
        waiting: list[Judgement] = []
        sent = time.monotonic()
        batch, requests = json.loads(line)
        try:
            for at, request in enumerate(requests):
                _PROGRESS.pack_into(progress, 0, batch, at)
                _limit_cpu(seconds)
                waiting.append(judge(request))
                if time.monotonic() - sent > FLUSH_SECONDS:
                    _limit_cpu(0)
                    _reply(replies, {"batch": batch, "judged": waiting})
                    waiting, sent = [], time.monotonic()
        finally:
            _limit_cpu(0)
            if waiting:
                _reply(replies, {"batch": batch, "judged": waiting})


def _reply(replies: BinaryIO, value: object) -> None:
    data = memoryview(json.dumps(value).encode() + b"\n")
    while data:  # a raw pipe takes a part at a time
        data = data[replies.write(data) :]


def _private_output() -> BinaryIO:
    """Returns the pipe to the parent, and turns standard output away from it: libraries may print."""
    private = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return open(private, "wb", buffering=0)  # noqa: PTH123  (a descriptor has no path)


def _give_up_rights(memory_bytes: int, *, trusted: bool) -> None:
    """From here on the process says nothing and its memory is bounded; unless trusted, it can write no file either."""
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


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        flags = arguments[2]
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise PermissionError("the grading process writes no file")
    elif event.startswith(_REFUSED):
        raise PermissionError(f"the grading process does not {event}")


def _limit_cpu(seconds: float) -> None:
    """The kernel ends this process when it has used so much more processor time; 0 lifts the limit.

    SIGPROF keeps its default action: no Python handler runs, which one long step inside sympy would hold up.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
