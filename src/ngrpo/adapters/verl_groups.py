"""What a step of verl has sampled so far: which groups are kept, and their metrics; needs neither verl nor Ray."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ngrpo.adapters.flat_batch import kept_rows, row_advantages

if TYPE_CHECKING:
    from torch import Tensor

    from ngrpo.methods import Method


def uid_of(key: str) -> str:
    """Returns what the rows of one group have in common, of a key `UID_SAMPLE_OUTPUT`.

    >>> uid_of("f00d_3_0")
    'f00d'
    """
    return key.split("_")[0]


def in_fixed_order(keys: Iterable[str], uids: Iterable[str]) -> list[str]:
    """Returns keys `UID_SAMPLE_OUTPUT` by group and then by sample, in whatever order their rows have arrived.

    Args:
        keys: a key per row.
        uids: the groups in the order in which their problems were given out; rows of others come last, by uid.

    >>> in_fixed_order(["a_10_0", "b_1_0", "a_2_0", "b_0_1", "b_0_0"], ["b", "a"])
    ['b_0_0', 'b_0_1', 'b_1_0', 'a_2_0', 'a_10_0']
    """
    places = {uid: place for place, uid in enumerate(uids)}

    def place(key: str) -> tuple[int, str, list[int]]:
        uid, *numbers = key.split("_")
        return places.get(uid, len(places)), uid, [int(number) for number in numbers]

    return sorted(keys, key=place)


@dataclass(frozen=True, slots=True)
class SampledGroups:
    """Rows by key with their rewards, NaN where ungraded; the uids the filter keeps; problems and rounds so far."""

    rewards: Mapping[str, float]
    kept: frozenset[str]
    problems: int
    rounds: int

    @classmethod
    def graded(cls, rewards: Mapping[str, float], method: Method, *, problems: int, rounds: int) -> Self:
        """Returns the rows with what the method's filter keeps of them.

        >>> from ngrpo.methods import NGRPO
        >>> rewards = {"a_0_0": 0.0, "a_1_0": 1.0, "b_0_0": 1.0, "b_1_0": 1.0}
        >>> sorted(SampledGroups.graded(rewards, NGRPO(), problems=2, rounds=1).kept)
        ['a']
        """
        import torch

        uids = [uid_of(key) for key in rewards]
        values = torch.tensor(list(rewards.values()))
        kept = kept_rows(method, values, uids, valid=~values.isnan()).tolist() if uids else []
        return cls(rewards, frozenset(u for u, k in zip(uids, kept, strict=True) if k), problems, rounds)

    @property
    def ungraded(self) -> list[str]:
        """The keys of rows that were not graded."""
        return [key for key, reward in self.rewards.items() if math.isnan(reward)]

    def wanted(self, batch_size: int, method: Method, *, empty_steps: int, max_ungraded_share: float) -> int:
        """Returns how many further problems to sample, 0 when this is the batch.

        Args:
            batch_size: groups that a step is to have.
            method: its refill and bound count.
            empty_steps: so many times the bound is sampled where nothing is kept, for verl has no step without a batch.
            max_ungraded_share: with more ungraded than this, sampling on is no help.
        """
        limit = max(batch_size, int(method.max_refill_factor * batch_size))
        missing = min(batch_size - len(self.kept), limit - self.problems) if method.refill else 0
        if missing > 0 or self.kept:
            return max(0, missing)
        graded = len(self.rewards) - len(self.ungraded)
        broken = graded < (1.0 - max_ungraded_share) * len(self.rewards) or not self.rewards
        return 0 if broken or self.problems >= empty_steps * limit else batch_size

    def metrics(self, method: Method) -> dict[str, float]:
        """Returns the group metrics of everything sampled, as docs/metrics.md has them; a dropped row has advantage 0.

        Advantages are left out of methods whose advantages do not follow from rewards alone.
        """
        import torch

        from ngrpo.diagnostics import group_metrics
        from ngrpo.methods import GroupMethod

        rewards = torch.tensor(list(self.rewards.values()))
        uids = [uid_of(key) for key in self.rewards]
        in_batch = torch.tensor([uid in self.kept for uid in uids])
        advantages = torch.zeros_like(rewards)
        follows = isinstance(method, GroupMethod) and not method.needs_entropies
        if follows:
            assert isinstance(method, GroupMethod)  # noqa: S101  (told to mypy)
            advantages = row_advantages(method, rewards, uids, valid=in_batch & ~rewards.isnan())
        table, of_all = _by_group(uids, rewards, math.nan), _by_group(uids, advantages, 0.0)
        valid = ~table.isnan()
        found = group_metrics(table.nan_to_num(), of_all, max_reward=method.max_reward, valid=valid)
        batch = {"groups": len(self.kept), "sampled_groups": self.problems, "rounds": self.rounds}
        return {
            **{name: value for name, value in found.items() if follows or not name.startswith("advantage/")},
            **{f"batch/{name}": float(value) for name, value in batch.items()},
        }


def _by_group(uids: list[str], values: Tensor, missing: float) -> Tensor:
    """Returns [P, G] of the values of rows, G the size of the largest group."""
    import torch

    groups: dict[str, list[float]] = {}
    for uid, value in zip(uids, values.tolist(), strict=True):
        groups.setdefault(uid, []).append(value)
    size = max(map(len, groups.values()))
    return torch.tensor([of_group + [missing] * (size - len(of_group)) for of_group in groups.values()])
