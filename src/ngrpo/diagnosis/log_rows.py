"""`Log`: the completions and metrics of a run, under the same names whatever wrote them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

Kind = Literal["ngrpo", "verl", "trl", "prime-rl", "table"]


class LogRow(NamedTuple):
    """One completion; what a log does not hold is None.

    Args:
        line: its row in the file, 1-based.
        step: 0 where the log has none.
        group: equal within a step for the completions of one group.
        problem: equal wherever the same problem was sampled.
        reward: None where ungraded.
        second: another verdict or reward of the same completion.
    """

    line: int
    step: int
    group: str
    problem: str
    reward: float | None
    completion: str | None = None
    prompt: str | None = None
    answer: str | None = None
    has_answers: bool = False
    reference: str | None = None
    advantage: float | None = None
    num_tokens: int | None = None
    truncated: bool | None = None
    second: float | None = None

    def told_answer(self) -> str | None:
        """Returns the answer, or the completion where the log has no answers."""
        return self.answer if self.has_answers else self.completion


Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Log:
    """A run's log.

    Args:
        kind: what wrote it.
        rows: completions, in the file's order.
        metrics: a step's metrics under our names, `step` among them.
        verdicts: step -> Pass@1 of an evaluation, or another grader's share of correct ones.
        max_reward: reward from which on a completion is correct.
        mathematical: references are, or may be, mathematics; false where the run's grader reads something else.
    """

    kind: Kind
    rows: Sequence[LogRow] = ()
    metrics: Sequence[Metrics] = ()
    verdicts: Mapping[int, float] = field(default_factory=dict)
    max_reward: float = 1.0
    mathematical: bool = True

    @cached_property
    def groups(self) -> list[list[LogRow]]:
        """The rows of each group, by first row."""
        found: dict[tuple[int, str], list[LogRow]] = {}
        for row in self.rows:
            found.setdefault((row.step, row.group), []).append(row)
        return list(found.values())

    def correct(self, row: LogRow) -> bool:
        """Returns whether a row is graded and correct."""
        return row.reward is not None and row.reward >= self.max_reward

    @cached_property
    def all_wrong(self) -> list[list[LogRow]]:
        """Groups of two and more graded completions without a correct one."""
        graded = [[row for row in group if row.reward is not None] for group in self.groups]
        return [group for group in graded if len(group) > 1 and not any(map(self.correct, group))]

    def series(self, name: str) -> list[tuple[int, float]]:
        """Returns step and value of a metric, where it has one."""
        return [(int(metrics["step"]), metrics[name]) for metrics in self.metrics if name in metrics]
