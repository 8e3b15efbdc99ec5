"""Grades of many completions at once: cheap comparisons here, the others in processes that can be killed."""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from ngrpo.grading.equivalence import MAX_ANSWER_CHARACTERS, Verdict
from ngrpo.grading.policies import POLICIES, PolicyName
from ngrpo.grading.worker import Worker
from ngrpo.types import Grade

MEMORY_PAIRS = 100_000
"""Verdicts that a pool remembers; it forgets all when there are more."""

_NO_ANSWER = Verdict("no_answer", "no box or marker")


class GraderPool:
    r"""Grades mathematics: the answer of a completion against a reference.

    Processes start when the first pair needs one, and are stopped by `close` or at the end of a `with` block;
    a pool may be used again after that. `grade_many` may be called from several threads, and never uses
    signals.

    >>> with GraderPool() as pool:
    ...     [grade.status for grade in pool.grade_many([(r"\boxed{.5}", r"\frac12"), ("one half", "0.5")])]
    ['correct', 'no_answer']
    """

    def __init__(self, workers: int = 1, timeout_seconds: float = 2.0, policy: PolicyName = "strict") -> None:
        """Makes a pool; no process is started yet.

        Args:
            workers: number of processes, at least 1.
            timeout_seconds: processor time that one comparison may take before its completion is ungraded.
            policy: `strict`, `math-verify` or `reference`; see `POLICIES`.

        Raises:
            ValueError: for a number of workers below 1, a timeout that is not positive or an unknown policy.
        """
        if workers < 1 or not timeout_seconds > 0:
            raise ValueError(
                f"workers must be at least 1 and timeout_seconds above 0, got {workers}, {timeout_seconds}"
            )
        if policy not in POLICIES:
            raise ValueError(f"policy must be one of {', '.join(POLICIES)}, got {policy!r}")
        self._policy = POLICIES[policy]
        self._workers = [Worker(timeout_seconds, policy) for _ in range(workers)]
        self._idle: SimpleQueue[Worker] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._known: dict[tuple[str, str], Verdict] = {}

    def grade_many(self, pairs: Sequence[tuple[str, str]]) -> list[Grade]:
        """Returns the grade of each (completion, reference) pair, in the order given; the reward is 1 or 0.

        Raises:
            GradingError: when no grading process can be started.
        """
        answers = [self._policy.extract(completion) for completion, _ in pairs]
        verdicts = [
            _NO_ANSWER if answer is None else self._settle(answer, reference)
            for answer, (_, reference) in zip(answers, pairs, strict=True)
        ]
        compared = self._compared(
            (answer, reference)
            for answer, (_, reference), verdict in zip(answers, pairs, verdicts, strict=True)
            if answer is not None and verdict is None
        )
        return [
            _grade(answer, verdict or compared[answer or "", reference])
            for answer, (_, reference), verdict in zip(answers, pairs, verdicts, strict=True)
        ]

    def close(self) -> None:
        """Stops all processes of this pool."""
        for worker in self._workers:
            worker.stop()

    def __enter__(self) -> Self:
        """Returns the pool itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the pool."""
        self.close()

    def _settle(self, answer: str, reference: str) -> Verdict | None:
        known = self._known.get((answer, reference))
        if known is not None:
            return known
        verdict = self._policy.settle(answer, reference)
        if verdict is not None:
            self._remember((answer, reference), verdict)
        return verdict

    def _remember(self, pair: tuple[str, str], verdict: Verdict) -> None:
        if len(self._known) >= MEMORY_PAIRS:
            self._known.clear()
        self._known[pair] = verdict

    def _compared(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Verdict]:
        wanted = list(dict.fromkeys(pairs))
        verdicts = {pair: self._known[pair] for pair in wanted if pair in self._known}
        new = [pair for pair in wanted if pair not in verdicts]
        if len(new) < 2 or len(self._workers) == 1:
            found = [self._compare(pair) for pair in new]
        else:
            with ThreadPoolExecutor(len(self._workers)) as threads:
                found = list(threads.map(self._compare, new))
        verdicts.update(zip(new, found, strict=True))
        return verdicts

    def _compare(self, pair: tuple[str, str]) -> Verdict:
        worker = self._idle.get()
        try:
            verdict = worker.compare(*pair)
        finally:
            self._idle.put(worker)
        if verdict.reason != "crash":  # what ended a process may not have been the pair
            self._remember(pair, verdict)
        return verdict


def shared_pool(workers: int = 1, timeout_seconds: float = 2.0, policy: PolicyName = "strict") -> GraderPool:
    """Returns the pool of such a size and policy that all tasks share; it is closed at exit."""
    return _shared_pool(workers, timeout_seconds, policy)


@cache
def _shared_pool(workers: int, timeout_seconds: float, policy: PolicyName) -> GraderPool:
    pool = GraderPool(workers, timeout_seconds, policy)
    atexit.register(pool.close)
    return pool


def grade(completion: str, reference: str, *, policy: PolicyName = "strict") -> Grade:
    r"""Returns the grade of one completion; for many, `GraderPool.grade_many` is the same and faster.

    Args:
        completion: what the model wrote; its last ``\boxed{...}`` is the answer, else what a marker announces.
        reference: the answer to reach, with or without math delimiters.
        policy: `strict`, `math-verify` (that library's verdict) or `reference` (the NGRPO reference grader's).

    Returns:
        `correct`, `wrong`, `no_answer` (no box or marker), or `ungraded` (timeout, crash, limit: the grade's reason).

    Raises:
        GradingError: when no grading process can be started.
        ValueError: for an unknown policy.

    >>> grade(r"So it is $\boxed{336}$.", r"336^\circ")
    Grade(status='correct', reward=1.0, answer='336', reason='number')
    """
    return shared_pool(policy=policy).grade_many([(completion, reference)])[0]


def _grade(answer: str | None, verdict: Verdict) -> Grade:
    kept = None if answer is None else answer[:MAX_ANSWER_CHARACTERS]
    return Grade(verdict.status, 1.0 if verdict.status == "correct" else 0.0, kept, verdict.reason)
