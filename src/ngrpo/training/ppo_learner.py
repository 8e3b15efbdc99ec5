"""PPO's learner: the critic's values and the KL in the reward give each token an advantage; both models are updated."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngrpo.gae import explained_variance, gae_advantages, token_rewards
from ngrpo.methods import PPO
from ngrpo.training.batch import TokenRow, ValuedRow, padded
from ngrpo.training.checkpoint import load_critic, save_critic
from ngrpo.training.collect import GradedGroups
from ngrpo.training.critic import CriticUpdater
from ngrpo.training.learner import (
    SAMPLERS_OWN,
    Batch,
    Learner,
    OldLogprobs,
    by_group,
    completion_means,
)
from ngrpo.training.optimizer import Updater, UpdateSums, UpdateTotals, update_metrics
from ngrpo.training.update import PolicyUpdater

CRITIC = "critic"
"""Folder of the critic in a checkpoint."""


class PPOLearner(Learner[ValuedRow]):
    """Learns by what the critic did not foresee.

    Args:
        updater: the policy.
        critic: the value model.
        method: the settings.
        old_logprobs: where they come from.
    """

    def __init__(
        self,
        updater: PolicyUpdater,
        critic: CriticUpdater,
        method: PPO,
        old_logprobs: OldLogprobs = SAMPLERS_OWN,
    ) -> None:
        super().__init__(updater, old_logprobs)
        self.critic, self.method = critic, method
        critic.budget = updater.budget  # one limit of memory

    def make_batch(self, graded: GradedGroups) -> Batch[ValuedRow]:
        """Returns the rows of groups with old values, returns and advantages of their tokens."""
        rows, sampled = self.sampled_rows(graded)
        found = self.take_old_logprobs(rows, sampled)
        values = self.critic.values(rows)
        of_tokens, metrics = self._token_rewards(rows, graded.rewards[graded.valid], found.logprobs)
        table = padded(values, of_tokens.shape[1])
        mask = _completion_mask(rows)
        gae = gae_advantages(of_tokens, table, mask, gamma=self.method.gamma, lam=self.method.lam)
        lengths = [len(row.completion) for row in rows]
        advantages = [a[:length] for a, length in zip(gae.advantages.numpy(), lengths, strict=True)]
        returns = [r[:length] for r, length in zip(gae.returns.numpy(), lengths, strict=True)]
        valued = [
            ValuedRow(
                row.prompt,
                row.completion,
                found.logprobs[i],
                found.weighted(i, advantages[i]),
                values[i],
                future,
                kept=row.kept,
            )
            for i, (row, future) in enumerate(zip(rows, returns, strict=True))
        ]
        metrics |= found.metrics | {
            "critic/explained_variance": explained_variance(gae.returns[mask], table[mask]),
            "critic/mean_value": float(table.sum()) / max(1, int(mask.sum())),
        }
        return Batch(by_group(valued, graded), completion_means(advantages, graded.valid), metrics)

    def take_updates(self, updates: Sequence[Sequence[ValuedRow]], *, step: int) -> dict[str, float]:
        """Takes an optimiser step of the critic and, after the warm-up, of the policy for each list of rows.

        Raises:
            TrainingError: when too many updates in a row had no finite gradient.
        """
        warming = step <= self.method.critic_warmup_steps
        policy, critic = UpdateTotals(), UpdateTotals()
        self.updater.begin_step(step)
        self.critic.begin_step(step)
        parameters = [parameter for updater in self.updaters for parameter in updater.parameters.values()]
        for rows in updates:
            accumulate = partial(
                self.updater.budget.fitted,
                partial(self._gradients, rows, warming=warming),
                longest=max(map(len, rows)),
                undo=self._drop_gradients,
            )
            values, *of_policy = self.updater.ranks.accumulated(accumulate, parameters)
            for sums in of_policy:
                policy.add(sums, self.updater.take_step())
            critic.add(values, self.critic.take_step())
        return update_metrics(policy) | {"critic/loss": critic.mean_loss, "critic/grad_norm": critic.mean_grad_norm}

    def _gradients(self, rows: Sequence[ValuedRow], *, warming: bool) -> list[UpdateSums]:
        """Accumulates both gradients before either step: they meet in a shared trunk, which the policy's step moves.

        Returns the critic's sums and, after the warm-up, the policy's.
        """
        values = self.critic.accumulate_gradient(rows, through_trunk=not warming)
        if warming:
            return [values]
        return [values, self.updater.accumulate_gradient(rows, self.updater.denominator(rows))]

    def _drop_gradients(self) -> None:
        for updater in self.updaters:
            updater.drop_gradient()

    @property
    def updaters(self) -> tuple[Updater, ...]:
        """What takes optimiser steps: the policy and the critic."""
        return (self.updater, self.critic)

    def save(self, folder: Path) -> None:
        """Writes policy and critic into a checkpoint's folder."""
        super().save(folder)
        save_critic(folder / CRITIC, self.critic)

    def load(self, folder: Path) -> None:
        """Takes up the optimisers and the critic of a checkpoint.

        Raises:
            CheckpointError: when it is incomplete, torn or of another run.
        """
        super().load(folder)
        load_critic(folder / CRITIC, self.critic)

    def _token_rewards(
        self, rows: Sequence[TokenRow], rewards: Tensor, old_logprobs: Sequence[NDArray[np.float32]]
    ) -> tuple[Tensor, dict[str, float]]:
        """Returns the rewards [B, T] of tokens, and the KL in them; without a coefficient no reference is asked."""
        coefficient = self.method.reward_kl_coefficient
        mask = _completion_mask(rows)
        old = padded(old_logprobs, mask.shape[1])
        ref = padded(self.updater.ref_logprobs(rows), mask.shape[1]) if coefficient > 0.0 else old
        of_tokens = token_rewards(rewards, old, ref, mask, kl_coefficient=coefficient)
        kl = float((old - ref).sum()) / max(1, int(mask.sum()))
        return of_tokens, {"policy/ref_kl": kl} if coefficient > 0.0 else {}


def _completion_mask(rows: Sequence[TokenRow]) -> Tensor:
    """Returns [B, T] bool, true on the tokens of each row."""
    lengths = torch.tensor([len(row.completion) for row in rows], dtype=torch.int64)
    return torch.arange(int(lengths.max()) if len(rows) else 0) < lengths[:, None]
