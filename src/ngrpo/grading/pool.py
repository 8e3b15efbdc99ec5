"""Grades of many completions at once: cheap comparisons here, the others in processes that can be killed."""

from __future__ import annotations

import atexit
import contextlib
import json
import operator
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self

from ngrpo.errors import ConfigError
from ngrpo.grading.extract import last_boxed
from ngrpo.grading.policies import POLICIES, checked_policy
from ngrpo.grading.references import NO_ANSWER
from ngrpo.grading.server import Request
from ngrpo.grading.strict.equivalence import MAX_ANSWER_CHARACTERS
from ngrpo.grading.verifiers import Judgement
from ngrpo.grading.worker import Failure, Outcome, Worker
from ngrpo.types import Grade

MEMORY_GIB = 2.0
"""Address space of a grading process unless another size is asked for."""
MEMORY_PAIRS = 100_000
"""Judgements that a pool remembers; it forgets all when there are more."""
BATCH_PAIRS = 128
BATCH_CHARACTERS = 200_000
"""A batch for a process holds at most so many pairs, and ends where the text gets longer than this."""

_NO_ANSWER = Grade("no_answer", 0.0, None, "no answer is declared")


class GraderPool:
    r"""Grades completions against references, with processes that are killed when a pair takes too long.

    Processes start when the first pair needs one, and are stopped by `close` or at the end of a `with` block;
    a pool may be used again after that. `grade_many` may be called from several threads (from asyncio with
    `asyncio.to_thread`), uses no signals, and when interrupted kills what it started.

    >>> with GraderPool() as pool:
    ...     [grade.status for grade in pool.grade_many([(r"\boxed{.5}", r"\frac12"), ("one half", "0.5")])]
    ['correct', 'no_answer']
    """

    def __init__(
        self,
        workers: int = 1,
        timeout_seconds: float = 2.0,
        policy: str = "strict",
        *,
        max_reward: float = 1.0,
        memory_gib: float = MEMORY_GIB,
        markers: Sequence[str] = (),
    ) -> None:
        """Makes a pool; no process is started yet.

        Args:
            workers: number of processes, at least 1.
            timeout_seconds: processor time that one pair may take before its completion is ungraded.
            policy: a name in `POLICIES`, `reasoning-gym`, or a verifier of one's own as `module:function`.
            max_reward: reward of a correct completion, above 0.
            memory_gib: address space of each process, in GiB.
            markers: plain texts that announce an answer where there is no box, beside the built-in ones.

        Raises:
            ConfigError (a ValueError): for an unknown policy.
            ValueError: for a number of workers below 1, or a timeout, reward or memory that is not positive.
        """
        if workers < 1 or not timeout_seconds > 0:
            raise ValueError(
                f"workers must be at least 1 and timeout_seconds above 0, got {workers}, {timeout_seconds}"
            )
        if not (max_reward > 0 and memory_gib > 0):
            raise ValueError(f"max_reward and memory_gib must be above 0, got {max_reward}, {memory_gib}")
        self._policy = POLICIES.get(checked_policy(policy))
        self._max_reward = max_reward
        self._markers = tuple(markers)
        settings = {
            "policy": policy,
            "max_reward": max_reward,
            "seconds": timeout_seconds,
            "memory_bytes": int(memory_gib * 2**30),
            "path": [] if self._policy else [str(Path.cwd())],
        }
        self._workers = [Worker(settings) for _ in range(workers)]
        self._idle: SimpleQueue[Worker] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._known: dict[tuple[str, str], Judgement] = {}
        self._quiet = threading.Lock()

    def grade_many(
        self, pairs: Sequence[tuple[str, str]], metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> list[Grade]:
        """Returns the grade of each (completion, reference) pair, in the order given.

        Args:
            pairs: any number, of any text.
            metadata: what a verifier is told beside each pair; values that are not JSON's reach it as text.

        Raises:
            GradingError: when no grading process can be started.
        """
        if self._policy is None:
            tables = metadata if metadata is not None else [{}] * len(pairs)
            plain = (json.loads(json.dumps(dict(table), default=str)) for table in tables)
            requests = [(*pair, table) for pair, table in zip(pairs, plain, strict=True)]
            return [self._grade(None, outcome) for outcome in self._judged(requests)]
        answers = [self._policy.extract(completion, self._markers) for completion, _ in pairs]
        return self._compared(answers, [reference for _, reference in pairs])

    def compare_many(self, pairs: Sequence[tuple[str, str]]) -> list[Grade]:
        """Returns the grade of each (answer, reference) pair of bare or boxed answers; no marker is searched.

        Raises:
            ConfigError (a ValueError): for a verifier, which judges whole completions.
            GradingError: when no grading process can be started.
        """
        if self._policy is None:
            raise ConfigError("a verifier judges whole completions: use grade_many")
        answers = [(last_boxed(answer) or answer).strip() or None for answer, _ in pairs]
        return self._compared(answers, [reference for _, reference in pairs])

    def _compared(self, answers: Sequence[str | None], references: Sequence[str]) -> list[Grade]:
        """Returns the grade of each answer; the answer in a reference text is found first."""
        assert self._policy is not None  # noqa: S101  (told to mypy)
        wanted = {text: self._policy.answer_of(text) for text in dict.fromkeys(references)}
        pairs = [(answer, wanted[text]) for answer, text in zip(answers, references, strict=True)]
        asked = [(answer, found) for answer, found in pairs if answer is not None and found is not None]
        grades = {
            pair: self._grade(pair[0], outcome) for pair, outcome in self._outcomes(list(dict.fromkeys(asked))).items()
        }
        return [
            Grade("ungraded", 0.0, answer, NO_ANSWER)
            if found is None
            else _NO_ANSWER
            if answer is None
            else grades[answer, found]
            for answer, found in pairs
        ]

    def start(self) -> None:
        """Starts one process, so that what is wrong with a verifier shows now.

        Raises:
            GradingError: when it cannot be started, or cannot load the verifier.
        """
        with self._lent() as worker:
            worker.start()

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

    def _outcomes(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Outcome]:
        """Returns the outcome of each (answer, reference) pair: remembered, decided at once, or asked for."""
        outcomes: dict[tuple[str, str], Outcome] = {}
        unknown: list[tuple[str, str]] = []
        for pair in pairs:
            known = self._known.get(pair) or self._decided(*pair)
            if known is None:
                unknown.append(pair)
            else:
                outcomes[pair] = known
        unknown.sort(key=operator.itemgetter(1))  # a worker has read a reference once when its answers come together
        found = dict(zip(unknown, self._judged(unknown), strict=True))
        self._remember({pair: outcome for pair, outcome in found.items() if isinstance(outcome, Judgement)})
        return outcomes | found

    def _decided(self, answer: str, reference: str) -> Judgement | None:
        assert self._policy is not None  # noqa: S101  (told to mypy)
        verdict = self._policy.quick(answer, reference)
        if verdict is None:
            return None
        return Judgement(*verdict, self._max_reward if verdict.status == "correct" else 0.0)

    def _remember(self, judgements: Mapping[tuple[str, str], Judgement]) -> None:
        if len(self._known) + len(judgements) > MEMORY_PAIRS:
            self._known.clear()
        self._known.update(judgements)

    def _judged(self, requests: Sequence[Request]) -> list[Outcome]:
        """Returns the outcome of each request, in order; what a busy machine or a killer disturbed is tried twice."""
        outcomes = self._shared_out(requests)
        again = [n for n, found in enumerate(outcomes) if found in (Failure.DISTURBED_TIMEOUT, Failure.CRASH)]
        if again:
            with self._quiet, self._lent() as worker:
                for number in again:
                    (outcomes[number],) = worker.judge([requests[number]], threading.Event())
        return outcomes

    def _shared_out(self, requests: Sequence[Request]) -> list[Outcome]:
        """Has the requests judged by as many workers as there are batches."""
        batches: SimpleQueue[tuple[int, Sequence[Request]]] = SimpleQueue()
        for batch in _batches(requests, len(self._workers)):
            batches.put(batch)
        outcomes: dict[int, Sequence[Outcome]] = {}
        stopped = threading.Event()
        busy: set[Worker] = set()

        def work(_: int = 0) -> None:
            with self._lent() as worker:
                busy.add(worker)
                while not stopped.is_set():
                    try:
                        first, batch = batches.get_nowait()
                    except Empty:
                        break
                    outcomes[first] = worker.judge(batch, stopped)
                busy.discard(worker)

        hands = min(len(self._workers), batches.qsize())
        if hands < 2:
            work()
        else:
            with ThreadPoolExecutor(hands) as threads:
                try:
                    list(threads.map(work, range(hands)))
                except BaseException:
                    stopped.set()
                    for worker in list(busy):
                        worker.kill()
                    raise
        return [outcome for first in sorted(outcomes) for outcome in outcomes[first]]

    @contextlib.contextmanager
    def _lent(self) -> Iterator[Worker]:
        worker = self._idle.get()
        try:
            yield worker
        finally:
            self._idle.put(worker)

    def _grade(self, answer: str | None, outcome: Outcome) -> Grade:
        if isinstance(outcome, Failure):
            reason = "crash" if outcome is Failure.CRASH else "timeout"
            outcome = Judgement("ungraded", reason)
        kept = outcome.answer if answer is None else answer
        return Grade(
            outcome.status, outcome.reward, None if kept is None else kept[:MAX_ANSWER_CHARACTERS], outcome.reason
        )


def _batches(requests: Sequence[Request], workers: int) -> Iterator[tuple[int, Sequence[Request]]]:
    """Yields (index of the first, requests): small enough that all workers have something to do until the end."""
    most = max(1, min(BATCH_PAIRS, len(requests) // (16 * workers)))
    first, characters = 0, 0
    for number, request in enumerate(requests):
        if number > first and (number - first >= most or characters > BATCH_CHARACTERS):
            yield first, requests[first:number]
            first, characters = number, 0
        characters += len(request[0]) + len(request[1])
    if first < len(requests):
        yield first, requests[first:]


def shared_pool(
    workers: int = 1,
    timeout_seconds: float = 2.0,
    policy: str = "strict",
    *,
    max_reward: float = 1.0,
    memory_gib: float = MEMORY_GIB,
    markers: Sequence[str] = (),
) -> GraderPool:
    """Returns the pool of such settings that all who ask for them share; it is closed at exit."""
    return _shared_pool(workers, timeout_seconds, policy, max_reward, memory_gib, tuple(markers))


@cache
def _shared_pool(
    workers: int, timeout_seconds: float, policy: str, max_reward: float, memory_gib: float, markers: tuple[str, ...]
) -> GraderPool:
    pool = GraderPool(workers, timeout_seconds, policy, max_reward=max_reward, memory_gib=memory_gib, markers=markers)
    atexit.register(pool.close)
    return pool


def grade(completion: str, reference: str, *, policy: str = "strict", markers: Sequence[str] = ()) -> Grade:
    r"""Returns the grade of one completion; for many, `GraderPool.grade_many` is the same and faster.

    Args:
        completion: what the model wrote; its last ``\boxed{...}`` is the answer, else its last declaration.
        reference: the answer to reach: bare, boxed, after `####`, or a worked solution that declares it.
        policy: `strict`, `math-verify` (that library's verdict), `reference` (the NGRPO reference grader's), `exact`,
            `choice`, or a verifier; see `GraderPool`.
        markers: plain texts such as "My answer:" that announce an answer, beside the built-in ones.

    Returns:
        `correct`, `wrong`, `no_answer` (no box or marker), or `ungraded` (timeout, crash, limit: the grade's reason).

    Raises:
        GradingError: when no grading process can be started.
        ConfigError (a ValueError): for an unknown policy.

    >>> grade(r"So it is $\boxed{336}$.", r"336^\circ")
    Grade(status='correct', reward=1.0, answer='336', reason='number')
    >>> grade("The answer is 18.", "6 + 12 = 18\n#### 18").status
    'correct'
    """
    return shared_pool(policy=policy, markers=markers).grade_many([(completion, reference)])[0]


def compare_answers(answer: str, reference: str, *, policy: str = "strict") -> Grade:
    r"""Returns the grade of one bare answer; nothing is extracted from it but the content of a box.

    Raises:
        GradingError: when no grading process can be started.
        ConfigError (a ValueError): for an unknown policy, or a verifier, which judges whole completions.

    >>> compare_answers("0.5", r"\frac12").status, compare_answers("5 or 6", "5").status
    ('correct', 'wrong')
    """
    return shared_pool(policy=policy).compare_many([(answer, reference)])[0]
