"""One pass over rollouts.jsonl: the groups of a run in numbers, and where their lines are; no text is kept.

Broken lines are no reason to give up on a page: bytes that are not UTF-8 become replacement characters, a line that is
not an object with a step and a problem is counted and left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

KindOfGroup = Literal["all_wrong", "mixed", "all_correct", "ungraded"]
AnswerKind = Literal["same", "some", "different"]
STATUSES = ("correct", "wrong", "no_answer", "ungraded")


@dataclass(slots=True)
class ScannedGroup:
    """The completions of one problem in one step, in the file's order.

    `rewards` are None where ungraded, `advantages` None where the filter dropped the group; `answers` are hashes that
    hold inside this process, of the completion where there is no answer; `offsets` are where the lines begin in the
    file, in bytes.
    """

    step: int
    problem: str
    offsets: list[int] = field(default_factory=list)
    samples: set[int] = field(default_factory=set)
    rewards: list[float | None] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    advantages: list[float | None] = field(default_factory=list)

    def kind(self, max_reward: float) -> KindOfGroup:
        """Returns the kind of group, as `ngrpo.filters.group_kinds` does."""
        graded = [reward for reward in self.rewards if reward is not None]
        if len(graded) < min(2, len(self.rewards)):
            return "ungraded"
        correct = sum(reward >= max_reward for reward in graded)
        if correct == 0:
            return "all_wrong"
        return "all_correct" if correct == len(graded) else "mixed"

    def answer_kind(self) -> AnswerKind:
        """Returns whether all answers of the group are different, the same, or neither, as the trainer's metrics do."""
        distinct = len({*self.answers})
        if distinct == len(self.answers):
            return "different"
        return "same" if distinct == 1 else "some"

    def is_dead(self) -> bool:
        """Returns whether no completion got an advantage."""
        return not any(self.advantages)


class RolloutScan(NamedTuple):
    """All groups by first line, how many completions there are, and how many lines could not be read."""

    groups: list[ScannedGroup]
    rollouts: int
    damaged: int


def scan_rollouts(path: Path) -> RolloutScan:
    """Returns what rollouts.jsonl holds; a torn last line, as a running writer leaves it, counts as damaged."""
    groups: list[ScannedGroup] = []
    current: dict[tuple[int, str], ScannedGroup] = {}
    rollouts = damaged = 0
    for offset, row in lenient_lines(path):
        step, problem = (None, None) if row is None else (number(row.get("step")), row.get("problem_id"))
        if row is None or step is None or problem is None:
            damaged += 1
            continue
        key, sample = (int(step), str(problem)), int(number(row.get("sample")) or 0)
        group = current.get(key)
        if group is None or sample in group.samples:  # a small set of problems is sampled twice in a step
            group = current[key] = ScannedGroup(*key)
            groups.append(group)
        _add(group, row, sample, offset)
        rollouts += 1
    return RolloutScan(groups, rollouts, damaged)


def lenient_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yields the offset and the object of each line that is not empty, None for one that cannot be read."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield offset, parsed_line(line)
            offset += len(line)


def parsed_line(line: bytes) -> dict[str, Any] | None:
    """Returns the object of a line of JSON, None where there is none."""
    try:
        row = json.loads(line.decode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def number(value: Any) -> float | None:
    """Returns a finite number as such, None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer of hundreds of digits
        return None


def _add(group: ScannedGroup, row: dict[str, Any], sample: int, offset: int) -> None:
    status = row.get("status")
    group.offsets.append(offset)
    group.samples.add(sample)
    group.statuses.append(status if status in STATUSES else "ungraded")
    group.rewards.append(None if status == "ungraded" else number(row.get("reward")))
    group.answers.append(hash(str(row.get("answer") or row.get("completion"))))
    group.advantages.append(number(row.get("advantage")))
