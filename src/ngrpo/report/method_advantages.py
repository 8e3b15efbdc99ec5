"""The advantages of a group's completions under every method, made once for each set of rewards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ngrpo.errors import NgrpoError
from ngrpo.report.reported_run import ReportedRun

if TYPE_CHECKING:
    from ngrpo.methods import Method

NOT_FROM_REWARDS = "advantages come from a critic; none follows from a group's rewards"
_BYTES = 10
"""Of one advantage in the page, with its comma."""


class _Pattern(NamedTuple):
    """The rewards of a group in ascending order, the ungraded (None) first."""

    run: int
    rewards: tuple[float | None, ...]


class AdvantageTables:
    """Tables that groups share: in a run, equal rewards of equal groups have equal advantages.

    A method has its defaults and the run's max_reward; the run's own method has the run's settings.

    Attributes:
        methods: name of each row of a table.
        notes: by method, what its advantages depend on beside the rewards of one group.
    """

    def __init__(self, runs: Sequence[ReportedRun]) -> None:
        from ngrpo.methods import METHODS, GroupMethod

        self.methods = list(METHODS)
        self.notes: dict[str, str] = {}
        self._runs = runs
        self._places: dict[_Pattern, int] = {}
        for name, kind in METHODS.items():
            if not issubclass(kind, GroupMethod):
                self.notes[name] = NOT_FROM_REWARDS
            elif kind.also_depends_on:
                self.notes[name] = f"depends on {kind.also_depends_on} too; shown is what the rewards alone give"

    def place_of(self, run: int, rewards: Sequence[float | None]) -> tuple[int, int]:
        """Returns the place of a group's table, and about how many bytes the page grows by."""
        pattern = _Pattern(run, tuple(sorted(rewards, key=lambda reward: (reward is not None, reward or 0.0))))
        known = pattern in self._places
        place = self._places.setdefault(pattern, len(self._places))
        return place, 0 if known else _BYTES * len({*rewards}) * (len(self.methods) + 1)

    def tables(self) -> list[list[Any]]:
        """Returns [rewards, rows] by place: distinct rewards in ascending order, None for ungraded completions.

        A row has the advantage of each, and is None where a method gives nothing for these rewards.
        """
        found: list[list[Any]] = [[] for _ in self._places]
        alike: dict[tuple[int, int], list[_Pattern]] = {}
        for pattern in self._places:
            alike.setdefault((pattern.run, len(pattern.rewards)), []).append(pattern)
        for (run, _), patterns in alike.items():
            columns = [_advantages(_method(name, self._runs[run]), patterns) for name in self.methods]
            for place, pattern in enumerate(patterns):
                distinct = list(dict.fromkeys(pattern.rewards))
                first = [pattern.rewards.index(reward) for reward in distinct]
                rows = [None if column is None else [column[place][at] for at in first] for column in columns]
                found[self._places[pattern]] = [distinct, rows]
        return found


def _method(name: str, run: ReportedRun) -> Method | None:
    from ngrpo.methods import load_method

    own = dict(run.table("method")) if name == run.method else {}
    for table in (own, {"max_reward": run.max_reward}):
        try:
            return load_method({**table, "name": name})
        except NgrpoError:  # a config of another version
            continue
    return None


def _advantages(method: Method | None, patterns: Sequence[_Pattern]) -> list[list[float]] | None:
    """Returns the advantages of groups of one size, 0 where the method's filter drops the group."""
    import torch

    from ngrpo.filters import kept_groups
    from ngrpo.methods import GroupMethod

    if not isinstance(method, GroupMethod):
        return None
    values = torch.tensor([[reward or 0.0 for reward in pattern.rewards] for pattern in patterns], dtype=torch.float64)
    valid = torch.tensor([[reward is not None for reward in pattern.rewards] for pattern in patterns])
    try:
        kept = kept_groups(values, filter=method.filter, max_reward=method.max_reward, valid=valid)
        made = method.advantages(values, valid) * kept[:, None]
    except NgrpoError:  # rewards beyond what the method allows
        return None
    # "+ 0.0" turns a negative zero into zero.
    return [[float(f"{value:.4g}") + 0.0 for value in row] for row in made.tolist()]
