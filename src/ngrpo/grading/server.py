"""The grading process: grades the pairs that its parent, `ngrpo.grading.worker`, sends, and may be killed at any time.

A first process loads what judging needs and forks; the fork grades. After a fork that died comes a new one, which takes
milliseconds where importing sympy takes a second. sympy itself is loaded when the first pair needs it: the fork then
ends with `NEEDS_SYMPY`, and the next one has it. A fork that has grown ends with `RENEWED` before its next pair, and so
does one that lacks memory for a pair, unless that is its first.

Both ends exchange JSON lines. To the process: first a table of settings, then batches, `[NUMBER, REQUESTS]`. From it:
`{"ready": true}`, `{"serving": PID}` from each fork, `{"batch": NUMBER, "grades": GRADES}` with the next few of a
batch, and, when a fork ended, `{"batch": NUMBER, "at": INDEX, "ended": STATUS}` with the request that it was at.
"""

from __future__ import annotations

import gc
import json
import mmap
import os
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

from ngrpo.grading.custom_graders import custom_grade, load_custom_grader
from ngrpo.grading.graders import GRADERS, is_custom, scaled
from ngrpo.grading.sandbox import give_up_rights, limit_cpu, private_output
from ngrpo.grading.upkeep import Memory, reset_libraries
from ngrpo.types import Grade

INPUT_ENDED, NEEDS_SYMPY, RENEWED = 86, 87, 88
"""Exit statuses of a fork; any other, or a signal, is a crash or a timeout."""
FLUSH_SECONDS = 0.005
"""Grade are sent together when this much time has passed: each sending wakes the parent."""

Request = Sequence[Any]
GradePair = Callable[[Request], Grade]

_PROGRESS = struct.Struct("qq")
_NO_MEMORY = Grade("ungraded", 0.0, reason="memory")


class _SuccessorError(Exception):
    """The next fork must grade the pair; the argument is this one's exit status."""


def serve() -> None:
    """The process's main function: grades until standard input ends."""
    with private_output() as replies:
        settings = json.loads(sys.stdin.buffer.readline())
        with mmap.mmap(settings["progress"], _PROGRESS.size) as progress:
            sys.path.extend(settings["path"])
            try:
                grade_pair = _grading(settings)
            except BaseException as error:  # noqa: BLE001  (a user's module may raise anything, SystemExit too)
                _reply(replies, {"failed": f"{type(error).__name__}: {error}"})
                return
            _reply(replies, {"ready": True})
            while (status := _status_of_fork(settings, grade_pair, replies, progress)) != INPUT_ENDED:
                if status == NEEDS_SYMPY:
                    _load_sympy()
                batch, at = _PROGRESS.unpack_from(progress)
                _PROGRESS.pack_into(progress, 0, 0, -1)
                _reply(replies, {"batch": batch, "at": at, "ended": status})


def progress_of(progress: mmap.mmap, batch: int) -> int:
    """Returns the index of the request of a batch that the process is at, -1 when it has not begun with that batch."""
    number, at = _PROGRESS.unpack_from(progress)
    return int(at) if number == batch else -1


def _grading(settings: Mapping[str, Any]) -> GradePair:
    grader, best = settings["grader"], settings["max_reward"]
    if is_custom(grader):
        function = load_custom_grader(grader, best)
        return lambda request: _grade_with(function, request, best)
    if grader == "math-verify":
        _load_sympy()
    return lambda request: _compared(request, grader, best)


def _grade_with(grader: Callable[..., Any], request: Request, max_reward: float) -> Grade:
    completion, reference, metadata = request
    try:
        return custom_grade(grader(completion, reference, metadata), max_reward)
    except MemoryError:
        return _NO_MEMORY
    except BaseException as error:  # noqa: BLE001  (SystemExit, KeyboardInterrupt: whatever it is, it is the custom grader's)
        return Grade("ungraded", 0.0, reason=f"grader raised {type(error).__name__}: {error}"[:200])


def _compared(request: Request, grader: str, max_reward: float) -> Grade:
    answer, reference = request
    try:
        grade = GRADERS[grader].settle(answer, reference)
        if grade is not None:
            return scaled(grade, max_reward)
        if "sympy" not in sys.modules:
            raise _SuccessorError(NEEDS_SYMPY)
        return _by_sympy(answer, reference, grader, max_reward)
    except MemoryError:
        return _NO_MEMORY


def _by_sympy(answer: str, reference: str, grader: str, max_reward: float) -> Grade:
    from ngrpo.grading.sympy_grader import symbolically_equal

    reset_libraries()
    try:
        equal = symbolically_equal(answer, reference, grader)
    except RecursionError:
        if _is_too_deep(reference, grader):
            return Grade("ungraded", 0.0, reason="nested too deep")
        equal = False
    if equal is None:
        return Grade("ungraded", 0.0, reason="undecided")
    rule = "sympy" if grader == "strict" else grader
    return Grade("correct", max_reward, reason=rule) if equal else Grade("wrong", 0.0, reason=rule)


def _is_too_deep(reference: str, grader: str) -> bool:
    """True when the reference alone cannot be read; else the answer is at fault, and shall not escape as ungraded."""
    from ngrpo.grading.sympy_grader import symbolically_equal

    try:
        symbolically_equal("0", reference, grader)
    except RecursionError:
        return True
    return False


def _load_sympy() -> None:
    from ngrpo.grading.sympy_grader import prepare_math_verify

    prepare_math_verify()


def _status_of_fork(settings: Mapping[str, Any], grade_pair: GradePair, replies: BinaryIO, progress: mmap.mmap) -> int:
    """Returns the exit status of a new fork that grades, or minus the signal that ended it."""
    # The fork shares what is loaded: were its garbage collector to walk through it, every page would be copied.
    gc.collect()
    gc.freeze()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        give_up_rights(settings["memory_bytes"], trusted=is_custom(settings["grader"]))
        _reply(replies, {"serving": os.getpid()})
        _grade_batches(grade_pair, settings, replies, progress)
        status = INPUT_ENDED
    except _SuccessorError as successor:
        (status,) = successor.args
    finally:
        os._exit(status)


def _grade_batches(grade_pair: GradePair, settings: Mapping[str, Any], replies: BinaryIO, progress: mmap.mmap) -> None:
    serving = _Serving(settings)
    for line in sys.stdin.buffer:
        waiting: list[Grade] = []
        sent = time.monotonic()
        batch, requests = json.loads(line)
        try:
            for at, request in enumerate(requests):
                _PROGRESS.pack_into(progress, 0, batch, at)
                serving.before_a_pair()
                limit_cpu(settings["seconds"])
                waiting.append(serving.kept(grade_pair(request)))
                if time.monotonic() - sent > FLUSH_SECONDS:
                    limit_cpu(0)
                    _reply(replies, {"batch": batch, "grades": list(map(_fields, waiting))})
                    waiting, sent = [], time.monotonic()
        finally:
            limit_cpu(0)
            if waiting:
                _reply(replies, {"batch": batch, "grades": list(map(_fields, waiting))})


class _Serving:
    """Decides when a fork leaves the next pair to a new one; never before it has graded one itself."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._memory = Memory(settings["memory_bytes"])
        self._graded = 0
        self._checked = time.monotonic()

    def before_a_pair(self) -> None:
        """Ends the fork if it has grown; a look at the memory costs as much as a cheap pair, so not before each."""
        if self._graded and time.monotonic() - self._checked > FLUSH_SECONDS:
            self._checked = time.monotonic()
            if self._memory.is_worn():
                raise _SuccessorError(RENEWED)

    def kept(self, found: Grade) -> Grade:
        """Returns a grade that is final; ends the fork where a new one may have the memory that this one lacks."""
        if self._graded and found == _NO_MEMORY:
            raise _SuccessorError(RENEWED)
        if not self._graded and is_custom(self._settings["grader"]):
            self._memory = Memory(self._settings["memory_bytes"])  # what a custom grader loads at its first call stays
        self._graded += 1
        return found


def _fields(grade: Grade) -> tuple[str, float, str | None, str]:
    return grade.status, grade.reward, grade.answer, grade.reason


def _reply(replies: BinaryIO, value: object) -> None:
    data = memoryview(json.dumps(value).encode() + b"\n")
    while data:  # a raw pipe takes a part at a time
        data = data[replies.write(data) :]
