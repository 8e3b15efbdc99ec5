"""Grades of many completions at once: cheap comparisons here, the others in processes that can be killed."""

from __future__ import annotations

import atexit
import operator
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ngrpo.errors import ConfigError
from ngrpo.grading.crew import Crew
from ngrpo.grading.extract import last_boxed
from ngrpo.grading.graders import GRADERS, Grader, checked_grader, scaled
from ngrpo.grading.quick import quick_number_grade
from ngrpo.grading.references import NO_ANSWER
from ngrpo.grading.requests import Pair, plain_metadata, read_metadata, read_pairs
from ngrpo.grading.strict.equivalence import MAX_ANSWER_CHARACTERS
from ngrpo.grading.watch import Failure
from ngrpo.types import Grade

MEMORY_GIB = 2.0
"""Address space of a grading process unless another size is asked for."""
MEMORY_PAIRS = 100_000
"""Grade that a pool remembers; it forgets all when there are more."""

_NO_ANSWER = Grade("no_answer", 0.0, None, "no answer is declared")
_MOST_SECONDS, _MOST_BYTES = 1e9, 2**62


class GraderPool:
    r"""Grades completions against references, with processes that are killed when a pair takes too long.

    Processes start when the first pair needs one, and are stopped by `close` or at the end of a `with` block;
    a pool may be used again after that. `grade_many` may be called from several threads (from asyncio with
    `asyncio.to_thread`), uses no signals, and when interrupted kills what it started.

    Examples:
        >>> with GraderPool() as pool:
        ...     [grade.status for grade in pool.grade_many([(r"\boxed{.5}", r"\frac12"), ("one half", "0.5")])]
        ['correct', 'no_answer']
    """

    def __init__(
        self,
        workers: int = 1,
        timeout_seconds: float = 2.0,
        grader: str = "strict",
        *,
        max_reward: float = 1.0,
        memory_gib: float = MEMORY_GIB,
        markers: Sequence[str] = (),
    ) -> None:
        """Makes a pool; no process is started yet.

        Args:
            workers: number of processes, at least 1.
            timeout_seconds: processor time that one pair may take before its completion is ungraded.
            grader: a name in `GRADERS`, `reasoning-gym`, or a custom grader as `module:function`.
            max_reward: reward of a correct completion, above 0.
            memory_gib: address space of each process, in GiB.
            markers: plain texts that announce an answer where there is no box, beside the built-in ones.

        Raises:
            ConfigError (a ValueError): for an unknown grader, a number of workers that is not an integer of at least 1,
                or a timeout, reward or memory that is not a finite number above 0.
        """
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise ConfigError(f"workers must be an integer of at least 1, got {workers!r}")
        seconds = _positive("timeout_seconds", timeout_seconds)
        self._max_reward = _positive("max_reward", max_reward)
        memory_bytes = _positive("memory_gib", memory_gib) * 2**30
        self._grader = GRADERS.get(checked_grader(grader))
        self._markers = tuple(markers)
        self._decides_numbers = grader == "strict"
        self._crew = Crew(
            {
                "grader": grader,
                "max_reward": self._max_reward,
                "seconds": min(seconds, _MOST_SECONDS),
                "memory_bytes": int(min(memory_bytes, _MOST_BYTES)),
                "path": [] if self._grader else [str(Path.cwd())],
            },
            workers,
        )
        self._workers = self._crew.workers
        self._known: dict[Pair, Grade] = {}

    def grade_many(
        self, pairs: Iterable[tuple[Any, Any]], metadata: Iterable[Mapping[str, Any] | None] | None = None
    ) -> list[Grade]:
        """Returns the grade of each (completion, reference) pair, in the order given.

        Args:
            pairs: any iterable. A completion is text or a list of chat messages, whose last assistant message counts; a
                reference is text or a finite number. An item that is neither is `ungraded`, and the others are graded.
            metadata: a custom grader's third argument for each pair; values that are not JSON's reach it as text.

        Raises:
            ValueError: when there are more or fewer `metadata` than pairs; nothing is graded then.
            GradingError: when no grading process can be started.
        """
        items = read_pairs(pairs, empty_references=self._grader is None)
        tables = read_metadata(metadata, len(items))
        if self._grader is None:
            return self._by_custom_grader(items, tables)
        extract = self._grader.extract
        return self._by_answer(items, self._grader, lambda completion: extract(completion, self._markers))

    def compare_many(self, pairs: Iterable[tuple[Any, Any]]) -> list[Grade]:
        """Returns the grade of each (answer, reference) pair of bare or boxed answers; no marker is searched.

        Raises:
            ConfigError (a ValueError): for a custom grader, which grades whole completions.
            GradingError: when no grading process can be started.
        """
        if self._grader is None:
            raise ConfigError("a custom grader grades whole completions: use grade_many")
        return self._by_answer(read_pairs(pairs), self._grader, _bare_answer)

    def start(self) -> None:
        """Starts one process, so that what is wrong with a custom grader shows now.

        Raises:
            GradingError: when it cannot be started, or cannot load the custom grader.
        """
        self._crew.start()

    def close(self) -> None:
        """Stops all processes of this pool."""
        self._crew.close()

    def __enter__(self) -> Self:
        """Returns the pool itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the pool."""
        self.close()

    def _by_custom_grader(self, items: Sequence[Pair | Grade], tables: Sequence[Any]) -> list[Grade]:
        """Returns the grade of each item by a custom grader, which sees all of the completion."""
        grades = {number: item for number, item in enumerate(items) if isinstance(item, Grade)}
        requests: dict[int, tuple[str, str, dict[str, Any]]] = {}
        for number, (item, table) in enumerate(zip(items, tables, strict=True)):
            if isinstance(item, Grade):
                continue
            plain = plain_metadata(table)
            if isinstance(plain, Grade):
                grades[number] = plain
            else:
                requests[number] = (*item, plain)
        outcomes = self._crew.graded(list(requests.values()))
        grades |= {number: self._grade(None, outcome) for number, outcome in zip(requests, outcomes, strict=True)}
        return [grades[number] for number in range(len(items))]

    def _by_answer(
        self, items: Sequence[Pair | Grade], grader: Grader, answer_in: Callable[[str], str | None]
    ) -> list[Grade]:
        """Returns the grade of each item by its answer; pairs of the same answer and reference are compared once."""
        grades: list[Grade] = []
        waiting: dict[Pair, list[int]] = {}
        answers_of: dict[str, str | None] = {}
        for number, item in enumerate(items):
            if isinstance(item, Grade):
                grades.append(item)
                continue
            completion, reference = item
            text = completion.strip()
            if text == reference.strip():
                grades.append(self._grade(text, Grade("correct", self._max_reward, reason="text")))
                continue
            if reference not in answers_of:
                answers_of[reference] = grader.answer_of(reference)
            wanted, answer = answers_of[reference], answer_in(completion)
            grades.append(Grade("ungraded", 0.0, answer, NO_ANSWER) if wanted is None else _NO_ANSWER)
            if answer is not None and wanted is not None:
                waiting.setdefault((answer, wanted), []).append(number)
        for pair, outcome in self._outcomes(waiting, grader).items():
            grade = self._grade(pair[0], outcome)
            for number in waiting[pair]:
                grades[number] = grade
        return grades

    def _outcomes(self, pairs: Iterable[Pair], grader: Grader) -> dict[Pair, Grade | Failure]:
        """Returns the outcome of each (answer, reference) pair: remembered, decided at once, or from a process."""
        outcomes: dict[Pair, Grade | Failure] = {}
        unknown: list[Pair] = []
        for pair in pairs:
            known = self._known.get(pair) or self._decided(*pair, grader)
            if known is None:
                unknown.append(pair)
            else:
                outcomes[pair] = known
        unknown.sort(key=operator.itemgetter(1))  # a worker reads a reference once when its answers come together
        found = dict(zip(unknown, self._crew.graded(unknown), strict=True))
        self._remember({pair: outcome for pair, outcome in found.items() if isinstance(outcome, Grade)})
        return outcomes | found

    def _decided(self, answer: str, reference: str, grader: Grader) -> Grade | None:
        """Returns the grade of a pair that takes microseconds, or None."""
        grade = grader.quick(answer, reference)
        if grade is None and self._decides_numbers:
            grade = quick_number_grade(answer, reference)
        return None if grade is None else scaled(grade, self._max_reward)

    def _remember(self, grades: Mapping[Pair, Grade]) -> None:
        if len(self._known) + len(grades) > MEMORY_PAIRS:
            self._known.clear()
        self._known.update(grades)

    def _grade(self, answer: str | None, outcome: Grade | Failure) -> Grade:
        if isinstance(outcome, Failure):
            reason = "crash" if outcome is Failure.CRASH else "timeout"
            outcome = Grade("ungraded", 0.0, reason=reason)
        kept = outcome.answer if answer is None else answer
        return Grade(
            outcome.status, outcome.reward, None if kept is None else kept[:MAX_ANSWER_CHARACTERS], outcome.reason
        )


def _bare_answer(text: str) -> str | None:
    return (last_boxed(text) or text).strip() or None


def _positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= sys.float_info.max:
        raise ConfigError(f"{name} must be a finite number above 0, got {value!r}")
    return float(value)


def shared_pool(
    workers: int = 1,
    timeout_seconds: float = 2.0,
    grader: str = "strict",
    *,
    max_reward: float = 1.0,
    memory_gib: float = MEMORY_GIB,
    markers: Sequence[str] = (),
) -> GraderPool:
    """Returns the pool of such settings that all who ask for them share; it is closed at exit."""
    return _shared_pool(workers, timeout_seconds, grader, max_reward, memory_gib, tuple(markers))


@cache
def _shared_pool(
    workers: int, timeout_seconds: float, grader: str, max_reward: float, memory_gib: float, markers: tuple[str, ...]
) -> GraderPool:
    pool = GraderPool(workers, timeout_seconds, grader, max_reward=max_reward, memory_gib=memory_gib, markers=markers)
    atexit.register(pool.close)
    return pool


def grade(completion: str, reference: str, *, grader: str = "strict", markers: Sequence[str] = ()) -> Grade:
    r"""Returns the grade of one completion; for many, `GraderPool.grade_many` is the same and faster.

    Args:
        completion: what the model wrote; its last ``\boxed{...}`` is the answer, else its last declaration.
        reference: the answer to reach: bare, boxed, after `####`, or a worked solution that declares it.
        grader: `strict`, `math-verify` (that library's verdict), `reference` (the NGRPO reference grader's), `exact`,
            `choice`, or a custom grader; see `GraderPool`.
        markers: plain texts such as "My answer:" that announce an answer, beside the built-in ones.

    Returns:
        `correct`, `wrong`, `no_answer` (no box or marker), or `ungraded` (timeout, crash, limit: the grade's reason).

    Raises:
        GradingError: when no grading process can be started.
        ConfigError (a ValueError): for an unknown grader.

    >>> grade(r"So it is $\boxed{336}$.", r"336^\circ")
    Grade(status='correct', reward=1.0, answer='336', reason='number')
    >>> grade("The answer is 18.", "6 + 12 = 18\n#### 18").status
    'correct'
    """
    return shared_pool(grader=grader, markers=markers).grade_many([(completion, reference)])[0]


def compare_answers(answer: str, reference: str, *, grader: str = "strict") -> Grade:
    r"""Returns the grade of one bare answer; nothing is extracted from it but the content of a box.

    Raises:
        GradingError: when no grading process can be started.
        ConfigError (a ValueError): for an unknown grader, or a custom grader, which grades whole completions.

    >>> compare_answers("0.5", r"\frac12").status, compare_answers("5 or 6", "5").status
    ('correct', 'wrong')
    """
    return shared_pool(grader=grader).compare_many([(answer, reference)])[0]
