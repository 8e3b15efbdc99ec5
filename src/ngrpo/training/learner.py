"""Learners: what makes advantages of the groups of a step, and takes the updates with them.

A `GroupLearner` compares the completions of a group; `ngrpo.training.ppo_learner` has the one that asks a critic.
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


@dataclass(frozen=True, slots=True)
class OldLogprobs:
    """Where old_logprobs come from: the sampler, or where `recompute`, a pass of the policy before the updates.

    With an `importance_cap` above 0, the tokens of a sampler that is not quite the policy are weighted by
    min(exp(old_logprobs - sampler_logprobs), importance_cap): truncated importance sampling
    (https://fengyao.notion.site/off-policy-rl). The weight multiplies the advantage, and with it the clipped loss.
    """

    recompute: bool = False
    importance_cap: float = 0.0


SAMPLERS_OWN = OldLogprobs()
"""The sampler's logprobs are the policy's."""


class Learner(ABC):
    """Makes rows with advantages of groups, and trains on them.

    Args:
        updater: the policy.
        old_logprobs: where they come from.
    """

    def __init__(self, updater: PolicyUpdater, old_logprobs: OldLogprobs) -> None:
        self.updater, self.old_logprobs = updater, old_logprobs

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
        if not (self.old_logprobs.recompute and rows):
            return {}
        sampled = np.concatenate([row.old_logprobs for row in rows])
        cap = self.old_logprobs.importance_cap
        for row, logprobs in zip(rows, self.updater.logprobs(rows), strict=True):
            if cap > 0.0:
                row.importance = np.exp(np.minimum(logprobs - row.old_logprobs, np.log(cap))).astype(np.float32)
            row.old_logprobs = logprobs
        gaps = np.concatenate([row.old_logprobs for row in rows]).astype(np.float64) - sampled
        metrics = {"policy/sampler_gap": float(abs(gaps).mean()), "policy/sampler_gap_max": float(abs(gaps).max())}
        if cap > 0.0:
            weights = np.concatenate([row.importance for row in rows])
            metrics["policy/importance_mean"] = float(weights.mean(dtype=np.float64))
            metrics["policy/importance_truncated"] = float((gaps > np.log(cap)).mean())
        return metrics


class GroupLearner(Learner):
    """Learns by the rewards of a group: the method's function of them gives the advantages."""

    def __init__(self, updater: PolicyUpdater, method: GroupMethod, old_logprobs: OldLogprobs = SAMPLERS_OWN) -> None:
        super().__init__(updater, old_logprobs)
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
