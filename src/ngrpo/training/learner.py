"""Learners: what makes advantages of the groups of a step, and takes the updates with them.

A `GroupLearner` compares the completions of a group; `ngrpo.training.ppo_learner` has the one that asks a critic.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngrpo.kept_tokens import NO_TRUNCATION, Truncation
from ngrpo.methods import GroupMethod
from ngrpo.training.batch import TokenRow, TrainingRow, padded
from ngrpo.training.checkpoint import load_optimizer, save_policy
from ngrpo.training.collect import GradedGroups
from ngrpo.training.optimizer import Updater, update_metrics
from ngrpo.training.update import PolicyUpdater

Floats = NDArray[np.float32]
R = TypeVar("R", bound=TrainingRow)


@dataclass(frozen=True, slots=True, eq=False)
class Batch(Generic[R]):
    """The groups of a step as rows with advantages, and what was measured on the way.

    `advantages` [P, G] are the means over each completion's tokens, 0 where it is ungraded.
    """

    rows: Sequence[Sequence[R]]
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
    truncation: Truncation = NO_TRUNCATION
    """What the sampler samples from; where its completions do not say what it kept, the policy's own logits do."""


@dataclass(frozen=True, slots=True, eq=False)
class SampledWith:
    """The old logprobs [T] of each row, the weights [T] of its tokens' advantages (None for 1), and how far off."""

    logprobs: Sequence[Floats]
    weights: Sequence[Floats] | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    def weighted(self, index: int, advantages: Floats) -> Floats:
        """Returns a row's advantages as they enter the loss."""
        return advantages if self.weights is None else advantages * self.weights[index]


SAMPLERS_OWN = OldLogprobs()
"""The sampler's logprobs are the policy's."""


class Learner(ABC, Generic[R]):
    """Makes rows with advantages of groups, and trains on them.

    Args:
        updater: the policy.
        old_logprobs: where they come from.
    """

    def __init__(self, updater: PolicyUpdater, old_logprobs: OldLogprobs) -> None:
        self.updater, self.old_logprobs = updater, old_logprobs

    @property
    def updaters(self) -> tuple[Updater, ...]:
        """What takes optimiser steps."""
        return (self.updater,)

    @abstractmethod
    def make_batch(self, graded: GradedGroups) -> Batch[R]:
        """Returns the rows that are trained on, with the policy as it is before the updates."""

    def take_updates(self, updates: Sequence[Sequence[R]], *, step: int) -> dict[str, float]:
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

    def sampled_rows(self, graded: GradedGroups) -> tuple[list[TokenRow], list[Floats]]:
        """Returns the graded completions as rows, and the sampler's logprobs [T] of each.

        With truncated sampling, the rows have the tokens that were kept: the ratio of every update is that of the
        distribution over them.
        """
        rows, logprobs = sampled_rows(graded)
        truncation = self.old_logprobs.truncation
        if not truncation.keeps_all and any(row.kept is None for row in rows):
            rows = self.updater.with_kept(rows, truncation)
        return rows, logprobs

    def take_old_logprobs(self, rows: Sequence[TokenRow], sampled: Sequence[Floats]) -> SampledWith:
        """Returns the logprobs that ratios are taken against: the sampler's, or where asked for the policy's own.

        Args:
            rows: completions.
            sampled: the sampler's logprobs [T] of each.
        """
        if not (self.old_logprobs.recompute and rows):
            return SampledWith(sampled)
        cap, own = self.old_logprobs.importance_cap, self.updater.logprobs(rows)
        gaps = np.concatenate(own).astype(np.float64) - np.concatenate(sampled)
        metrics = {"policy/sampler_gap": float(abs(gaps).mean()), "policy/sampler_gap_max": float(abs(gaps).max())}
        if cap == 0.0:
            return SampledWith(own, metrics=metrics)
        weights = [
            np.exp(np.minimum(new - old, np.log(cap))).astype(np.float32) for new, old in zip(own, sampled, strict=True)
        ]
        metrics["policy/importance_mean"] = float(np.concatenate(weights).mean(dtype=np.float64))
        metrics["policy/importance_truncated"] = float((gaps > np.log(cap)).mean())
        return SampledWith(own, weights, metrics)


class GroupLearner(Learner[TrainingRow]):
    """Learns by the rewards of a group: the method's function of them gives the advantages."""

    def __init__(self, updater: PolicyUpdater, method: GroupMethod, old_logprobs: OldLogprobs = SAMPLERS_OWN) -> None:
        super().__init__(updater, old_logprobs)
        self.method = method

    def make_batch(self, graded: GradedGroups) -> Batch[TrainingRow]:
        """Returns the rows of groups; the policy's own old_logprobs only of those that can carry gradient."""
        rows, old = self.sampled_rows(graded)
        advantages, of_tokens = self._advantages(graded, rows)
        chosen = [i for i, values in enumerate(of_tokens) if self.updater.carries_gradient(values)]
        found = self.take_old_logprobs([rows[i] for i in chosen], [old[i] for i in chosen])
        for place, i in enumerate(chosen):
            old[i], of_tokens[i] = found.logprobs[place], found.weighted(place, of_tokens[i])
        training = [
            TrainingRow(row.prompt, row.completion, logprobs, values, kept=row.kept)
            for row, logprobs, values in zip(rows, old, of_tokens, strict=True)
        ]
        return Batch(by_group(training, graded), advantages, found.metrics)

    def _advantages(self, graded: GradedGroups, rows: Sequence[TokenRow]) -> tuple[Tensor, list[Floats]]:
        """Returns the method's advantages [P, G], 0 where ungraded, and those [T] of each row's tokens."""
        if not rows:
            return torch.zeros_like(graded.rewards), []
        num_tokens, valid = graded.num_tokens, graded.valid
        rewards = self.method.shaped_rewards(graded.rewards, num_tokens, self.updater.max_completion_tokens)
        if not self.method.needs_entropies:
            advantages = self.method.advantages(rewards, valid).float()
            values = advantages[valid].numpy()
            return advantages, [np.full(len(r.completion), a) for r, a in zip(rows, values, strict=True)]
        width = int(num_tokens.max())
        mask = torch.arange(width) < num_tokens[..., None]
        entropies = torch.zeros(mask.shape)
        entropies[valid] = padded(self.updater.entropies(rows), width)
        table = self.method.token_advantages(rewards, entropies, mask, valid).float()[valid].numpy()
        of_tokens = [values[: len(row.completion)] for row, values in zip(rows, table, strict=True)]
        return completion_means(of_tokens, valid), of_tokens


def sampled_rows(graded: GradedGroups) -> tuple[list[TokenRow], list[Floats]]:
    """Returns the graded completions as rows, and the sampler's logprobs [T] of each."""
    pairs = list(graded.graded_completions())
    rows = [TokenRow(group.prompt_tokens, c.tokens, kept=c.kept) for group, c in pairs]
    return rows, [c.logprobs for _, c in pairs]


def without_truncated(rows: Sequence[Sequence[R]], graded: GradedGroups) -> list[list[R]]:
    """Returns the rows of each group without those of completions that were cut, and no group without rows.

    Args:
        rows: those of all graded completions, group by group.
        graded: the groups.
    """
    finished = iter(completion.finish_reason != "length" for _, completion in graded.graded_completions())
    kept = [[row for row in group if next(finished)] for group in rows]
    return [group for group in kept if group]


def by_group(rows: Sequence[R], graded: GradedGroups) -> list[list[R]]:
    """Returns the rows of all graded completions, group by group."""
    remaining = iter(rows)
    return [list(islice(remaining, count)) for count in graded.valid.sum(dim=1).tolist()]


def completion_means(of_tokens: Sequence[Floats], valid: Tensor) -> Tensor:
    """Returns the mean advantage [P, G] of each graded completion's tokens, 0 where ungraded."""
    means = torch.zeros(valid.shape)
    means[valid] = torch.tensor([float(values.mean(dtype=np.float64)) for values in of_tokens])
    return means
