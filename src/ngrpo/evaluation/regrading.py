"""Grading stored completions once more: by another grader or a mended grader, without a model."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ngrpo.choices import Split
from ngrpo.errors import DataError
from ngrpo.storage import append_json_lines, partial_path, read_json_lines
from ngrpo.tasks import Task
from ngrpo.types import Problem

ROWS_AT_ONCE = 4096
NEEDED = ("problem_id", "completion", "reference", "status")


@dataclass(frozen=True, slots=True)
class Change:
    """One completion whose status is another now."""

    problem_id: str
    sample: int
    reference: str
    before: str
    after: str
    answer: str | None
    reason: str


@dataclass(slots=True)
class Regraded:
    """How many completions had each status before and have it now, and every change."""

    before: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)
    changes: list[Change] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {"before": dict(self.before), "after": dict(self.after), "changed": len(self.changes)}


def regrade_file(
    path: Path, task: Task, split: Split, out: Path, *, on_progress: Callable[[int], None] = lambda _done: None
) -> Regraded:
    """Writes the lines of a samples or rollouts file with new grades to `out`, and returns what changed.

    Every other key of a line stays; an advantage, which followed from the old reward, becomes null where that changed.

    Args:
        path: JSON lines with `problem_id`, `completion`, `reference` and `status`.
        task: grades.
        split: where the task's problems of this file are, for a task whose grades need them.
        out: written in one move when all is done.
        on_progress: called with the number of completions done.

    Raises:
        DataError: for a line without these keys, or a problem that the task does not have.
    """
    result = Regraded()
    problem_of = _problem_lookup(task, split)
    partial = partial_path(out)
    partial.unlink(missing_ok=True)
    lines = _checked(path)
    while rows := list(itertools.islice(lines, ROWS_AT_ONCE)):
        pairs = [(problem_of(row), row["completion"]) for row in rows]
        append_json_lines(partial, _regraded(rows, pairs, task, result))
        on_progress(sum(result.after.values()))
    if not result.after:
        raise DataError(f"{path} is empty: it holds no completions")
    partial.replace(out)
    return result


def _regraded(
    rows: Sequence[dict[str, Any]], pairs: Sequence[tuple[Problem, str]], task: Task, result: Regraded
) -> Iterable[dict[str, Any]]:
    for row, grade in zip(rows, task.grade_many(pairs), strict=True):
        result.before[row["status"]] += 1
        result.after[grade.status] += 1
        if grade.status != row["status"]:
            change = (row["problem_id"], row.get("sample", 0), row["reference"], row["status"])
            result.changes.append(Change(*change, grade.status, grade.answer, grade.reason))
        new = {**row, "answer": grade.answer, "status": grade.status, "reward": grade.reward}
        if "advantage" in row and grade.reward != row.get("reward"):
            new["advantage"] = None
        yield new


def _checked(path: Path) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(read_json_lines(path), start=1):
        missing = next((key for key in NEEDED if not isinstance(row.get(key), str)), None)
        if missing:
            raise DataError(f"{path}, line {number}: the key '{missing}' is missing or no text")
        yield row


def _problem_lookup(task: Task, split: Split) -> Callable[[Mapping[str, Any]], Problem]:
    if task.grades_by_reference:
        return lambda row: Problem(row["problem_id"], "", row["reference"])
    known = {problem.id: problem for problem in task.problems(split)}

    def lookup(row: Mapping[str, Any]) -> Problem:
        if row["problem_id"] not in known:
            raise DataError(f"task '{task.name}' has no {split} problem {row['problem_id']!r}")
        return known[row["problem_id"]]

    return lookup
