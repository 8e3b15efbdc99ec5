"""Results of evalplus, `*_eval_results.json`; read in its version 0.3.1, and as its versions before 0.2 wrote them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.samples.entry import CORRECT, UNGRADED, WRONG, Entry, Format, JsonRow, problem_id_of

PASS = "pass"
TESTS = ("plus", "base")


class EvalplusFormat(Format):
    """A row per solution: passed with `plus` when it passes the base and the extra tests, with `base` the base tests.

    `plus` is the default where the file has it. A status other than `pass` (fail, timeout) is wrong.
    """

    name: ClassVar[str] = "results of evalplus"
    answer_key: ClassVar[str] = ""
    choosable: ClassVar[frozenset[str]] = frozenset({"metric"})

    _tests = ""

    @classmethod
    def recognises(cls, row: JsonRow) -> bool:
        """Returns whether a row has `task_id` and `base_status`."""
        return {"task_id", "base_status"} <= row.keys()

    @classmethod
    def rows_in(cls, document: Mapping[str, Any]) -> Iterable[JsonRow] | None:
        """Returns the solutions of all tasks, the n-th of a task as its sample n."""
        tasks = document.get("eval")
        if not isinstance(tasks, dict) or not tasks:
            return None
        first = next(iter(tasks.values()))
        old = isinstance(first, dict) and "base" in first
        new = isinstance(first, list) and first and isinstance(first[0], dict) and "base_status" in first[0]
        return _rows(tasks) if old or new else None

    def read(self, row: JsonRow, line: int) -> Iterable[Entry]:
        """Returns the one entry of a solution."""
        if not self._tests:
            self._tests = self._chosen_tests(row)
        statuses = [row["base_status"], row.get("plus_status")][: 1 + (self._tests == "plus")]
        passed = all(status == PASS for status in statuses)
        verdict = UNGRADED if None in statuses else CORRECT if passed else WRONG
        solution = row.get("solution")
        return [
            Entry(
                problem_id_of(row["task_id"]),
                0,
                row["sample"],
                verdict,
                line,
                text=hash(solution) if isinstance(solution, str) else None,
            )
        ]

    @property
    def reading(self) -> str:
        """Which tests decide."""
        tests = {"plus": "base and extra tests (--metric base: base tests alone)", "base": "base tests"}
        return f"evalplus, correct by {tests.get(self._tests, 'base tests')}"

    def _chosen_tests(self, row: JsonRow) -> str:
        wanted = self.choices.metric
        if wanted is not None and wanted not in TESTS:
            raise ConfigError(f"--metric of evalplus must be one of {', '.join(TESTS)}; got {wanted!r}")
        if wanted == "plus" and row.get("plus_status") is None:
            raise DataError("has no plus_status: evalplus ran the base tests alone")
        return wanted or ("plus" if row.get("plus_status") is not None else "base")


def _rows(tasks: Mapping[str, Any]) -> Iterator[JsonRow]:
    for task_id, results in tasks.items():
        if isinstance(results, dict):
            results = _from_old(results)
        if not isinstance(results, list) or not all(isinstance(one, dict) for one in results):
            raise DataError(f"task {task_id!r} of evalplus holds no list of solutions")
        for sample, result in enumerate(results):
            yield {**result, "task_id": task_id, "sample": sample}


def _from_old(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the solutions of a task as versions before 0.2 wrote it: base and plus, each [[status, details], ...]."""
    base, plus = (
        [one[0] if isinstance(one, list) and one else None for one in task.get(tests) or ()]
        for tests in ("base", "plus")
    )
    plus += [None] * (len(base) - len(plus))
    return [{"base_status": a, "plus_status": b} for a, b in zip(base, plus, strict=False)]
