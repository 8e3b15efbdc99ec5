"""Completions that a server refuses: when they are accepted as ungraded, and how they are reported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ngrpo.errors import ConfigError, short_line
from ngrpo.types import Completion

MOST_PROBLEMS = 16
"""Problems refused in a row, with no completion in between, after which the fault is not theirs."""
_NAMED = 3
_LISTED = 20


@dataclass(frozen=True, slots=True)
class Refused:
    """The refused completions of a problem, and the reason for the first of them."""

    problem_id: str
    samples: int
    reason: str

    def __str__(self) -> str:
        """Returns the problem, the number and the reason."""
        return f"problem '{short_line(self.problem_id, 60)}' ({self.samples}): {short_line(self.reason, 120)}"


class RefusalWatch:
    """Holds refusals back until a completion shows that the server answers other requests.

    Args:
        answered: whether the server has answered a request of this evaluation before.
    """

    def __init__(self, *, answered: bool) -> None:
        self._answered = answered
        self._held: list[tuple[int, Completion]] = []
        self._problems: dict[str, str] = {}

    def released(self, index: int, problem_id: str, completion: Completion) -> list[tuple[int, Completion]]:
        """Returns the completions that may be written now that this one has come.

        Raises:
            ConfigError: when the server refuses everything.
        """
        if completion.finish_reason != "refused":
            released, self._held, self._problems = [*self._held, (index, completion)], [], {}
            self._answered = True
            return released
        self._held.append((index, completion))
        self._problems.setdefault(problem_id, completion.refusal)
        if len(self._problems) >= MOST_PROBLEMS:
            raise self._error(f"the requests for {MOST_PROBLEMS} problems in a row")
        return []

    def rest(self) -> list[tuple[int, Completion]]:
        """Returns what is held back at the end.

        Raises:
            ConfigError: when the server has never answered a request of this evaluation.
        """
        if self._held and not self._answered:
            raise self._error("every request")
        return self._held

    def _error(self, what: str) -> ConfigError:
        problem_id, reason = next(iter(self._problems.items()))
        return ConfigError(f"the server refuses {what}, as that for problem '{short_line(problem_id, 60)}': {reason}")


def refused_in(rows: Iterable[dict[str, Any]]) -> tuple[Refused, ...]:
    """Returns the refusals by problem in lines of a samples file."""
    found: dict[str, Refused] = {}
    for row in rows:
        if row.get("finish_reason") == "refused":
            before = found.get(row["problem_id"], Refused(row["problem_id"], 0, row.get("reason", "")))
            found[row["problem_id"]] = Refused(before.problem_id, before.samples + 1, before.reason)
    return tuple(found.values())


def refusal_lines(refused: Sequence[Refused], samples: int) -> list[str]:
    """Returns the lines at the end of an evaluation: the list where it is long, and one line for all.

    >>> refusal_lines([Refused("p7", 2, "400: context length exceeded")], 300)
    ["2 of 300 completions are ungraded, refused by the server: problem 'p7' (2): 400: context length exceeded; to ask \
again: --resume --retry-ungraded"]
    """
    if not refused:
        return []
    total, more = sum(one.samples for one in refused), len(refused) - _NAMED
    lines = [f"refused: {one}" for one in refused[:_LISTED]] if more > 0 else []
    if len(refused) > _LISTED:
        lines.append(f"refused: {len(refused) - _LISTED} more problems, listed in summary.json")
    named = "; ".join(map(str, refused[:_NAMED])) + (f"; and {more} more problems" if more > 0 else "")
    last = f"{total} of {samples} completions are ungraded, refused by the server: {named}; to ask again: "
    return [*lines, last + "--resume --retry-ungraded"]
