"""Learners: what makes advantages of the groups of a step, and takes the updates with them.

A `GroupLearner` compares the completions of a group; `ngrpo.training.ppo` has the one that asks a critic.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ngrpo.methods import GroupMethod
from ngrpo.training.batch import Row, padded, rows_of
from ngrpo.training.checkpoint import load_optimizer, save_policy
from ngrpo.training.collect import rewards_of
from ngrpo.training.update import PolicyUpdater, update_metrics
from ngrpo.types import Group


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The groups of a step as rows with advantages, and what was measured on the way.

    `advantages` [P, G] are the means over each completion's tokens, 0 where it is ungraded.
    """

    rows: list[list[Row]]
    advantages: Tensor
    metrics: dict[str, float] = field(default_factory=dict)


class Learner(ABC):
    """Makes rows with advantages of groups, and trains on them.

    Args:
        updater: the policy.
        recompute_old_logprobs: whether the policy computes them, or the sampler's are taken.
    """

    def __init__(self, updater: PolicyUpdater, *, recompute_old_logprobs: bool) -> None:
        self.updater, self.recompute_old_logprobs = updater, recompute_old_logprobs

    @abstractmethod
    def batch_of(self, groups: Sequence[Group]) -> Batch:
        """Returns the rows of graded groups that are trained on, with the policy as it is before the updates."""

    def take_updates(self, updates: Sequence[Sequence[Row]], *, step: int) -> dict[str, float]:
        """Takes the updates of a step and returns its metrics.

        Raises:
            TrainingError: when too many updates in a row had no finite gradient.
        """
        return update_metrics(self.updater.take_updates(updates, step=step))

    def save(self, folder: Path) -> None:
        """Writes everything that is trained into a checkpoint's folder."""
        save_policy(folder, self.updater)

    def load(self, folder: Path) -> None:
        """Takes up the optimisers, and whatever is trained beside the policy, of a checkpoint.

        Raises:
            CheckpointError: when it is incomplete, torn or of another run.
        """
        load_optimizer(folder, self.updater)

    def take_old_logprobs(self, rows: Sequence[Row]) -> dict[str, float]:
        """Puts the policy's own in place of the sampler's logprobs, where asked for, and returns how far they were."""
        if not (self.recompute_old_logprobs and rows):
            return {}
        change, tokens = 0.0, 0
        for row, logprobs in zip(rows, self.updater.logprobs(rows), strict=True):
            change += float(abs(logprobs - row.old_logprobs).sum())
            tokens += len(logprobs)
            row.old_logprobs = logprobs
        return {"policy/sampler_gap": change / max(1, tokens)}


class GroupLearner(Learner):
    """Learns by the rewards of a group: the method's function of them gives the advantages."""

    def __init__(self, updater: PolicyUpdater, method: GroupMethod, *, recompute_old_logprobs: bool = False) -> None:
        super().__init__(updater, recompute_old_logprobs=recompute_old_logprobs)
        self.method = method

    def batch_of(self, groups: Sequence[Group]) -> Batch:
        """Returns the rows of groups; old_logprobs only of those that can carry gradient."""
        rows = [rows_of(group) for group in groups]
        if not groups:
            return Batch(rows, completion_means(groups, []))
        flat = [row for group in rows for row in group]
        advantages = self._token_advantages(groups, flat)
        for row, values in zip(flat, advantages[rewards_of(groups)[1]].numpy(), strict=True):
            row.advantages = values[: len(row.completion)]
        metrics = self.take_old_logprobs(self.updater.rows_with_gradient(flat))
        return Batch(rows, completion_means(groups, flat), metrics)

    def _token_advantages(self, groups: Sequence[Group], rows: Sequence[Row]) -> Tensor:
        """Returns the method's advantages [P, G, T], its shaping of the rewards included."""
        rewards, valid = rewards_of(groups)
        completions = [rollout.completion for group in groups for rollout in group.rollouts]
        num_tokens = torch.tensor([len(completion.tokens) for completion in completions]).view_as(rewards)
        width = int(num_tokens.max())
        mask = torch.arange(width) < num_tokens[..., None]
        entropies = torch.zeros(mask.shape)
        if self.method.needs_entropies:
            entropies[valid] = padded(self.updater.entropies(rows), width)
        shaped = self.method.shaped_rewards(rewards, num_tokens, self.updater.max_completion_tokens)
        return self.method.token_advantages(shaped, entropies, mask, valid).float()


def completion_means(groups: Sequence[Group], rows: Sequence[Row]) -> Tensor:
    """Returns the mean advantage [P, G] of each completion's tokens, 0 where it is ungraded and has no row."""
    if not groups:
        return torch.zeros(0, 0)
    _, valid = rewards_of(groups)
    means = torch.zeros(valid.shape)
    # In float64 the mean of equal numbers is that number, so one advantage per completion comes back to the bit.
    means[valid] = torch.tensor([float(row.advantages.mean(dtype=np.float64)) for row in rows])
    return means
