"""What a step of verl has drawn so far, and the settings by which it is judged; needs neither verl nor Ray."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ngrpo.errors import TrainingError
from ngrpo.methods import GRPO, Filter, GroupMethod


@dataclass(frozen=True, slots=True)
class SamplerSettings:
    """What `trainer.v1.sampler.sampler_kwargs` says; the names are those of `[method]` and `[run]`."""

    filter: Filter = "none"
    refill: bool = True
    max_refill_factor: float = 8.0
    max_reward: float = 1.0
    max_ungraded_share: float = 0.5

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> SamplerSettings:
        """Returns the settings of verl's table, which may be a DictConfig."""
        return cls(**{str(key): table[key] for key in table})

    @property
    def method(self) -> GroupMethod:
        """A method with this filter; which one does not matter to a filter."""
        return GRPO.parse({"filter": self.filter, "max_reward": self.max_reward})


@dataclass(frozen=True, slots=True)
class Round:
    """Rows by their key `UID_SAMPLE_OUTPUT` with their rewards, NaN where ungraded; and the uids that are kept."""

    keys: tuple[str, ...]
    rewards: tuple[float, ...]
    kept: frozenset[str]

    @property
    def groups(self) -> dict[str, list[float]]:
        """The rewards of each group, ungraded rows included."""
        groups: dict[str, list[float]] = {}
        for key, reward in zip(self.keys, self.rewards, strict=True):
            groups.setdefault(key.split("_")[0], []).append(reward)
        return groups

    def check(self, step: int, settings: SamplerSettings) -> None:
        """Raises TrainingError when the grader is at fault, or when there is nothing to train on."""
        ungraded = sum(math.isnan(reward) for reward in self.rewards)
        if ungraded > settings.max_ungraded_share * len(self.rewards):
            raise TrainingError(
                f"step {step}: {ungraded} of {len(self.rewards)} completions could not be graded: the grader is at "
                "fault, not the model; [run] max_ungraded_share is the bound"
            )
        if not self.kept:
            raise TrainingError(
                f"step {step}: filter '{settings.filter}' dropped every one of {len(self.groups)} groups"
            )

    def metrics(self) -> dict[str, float]:
        """Returns the share of rows that are ungraded, and how many groups were dropped."""
        ungraded = sum(math.isnan(reward) for reward in self.rewards)
        return {
            "training/groups/dropped": len(self.groups) - len(self.kept),
            "training/groups/ungraded_rows": ungraded / max(1, len(self.rewards)),
        }
