"""PPO's learner: the critic's values and the KL in the reward give each token an advantage; both models are updated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ngrpo.gae import explained_variance, gae_advantages, token_rewards
from ngrpo.methods import PPO
from ngrpo.training.batch import Row, padded, rows_of
from ngrpo.training.checkpoint import load_critic, save_critic
from ngrpo.training.critic import CriticUpdater
from ngrpo.training.learner import SAMPLERS_OWN, Batch, Learner, OldLogprobs, completion_means
from ngrpo.training.optimizer import UpdateTotals
from ngrpo.training.update import PolicyUpdater, update_metrics
from ngrpo.types import Group

CRITIC = "critic"
"""Folder of the critic in a checkpoint."""


class PPOLearner(Learner):
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

    def batch_of(self, groups: Sequence[Group]) -> Batch:
        """Returns the rows of groups with old values, returns and advantages of their tokens."""
        rows = [rows_of(group) for group in groups]
        flat = [row for group in rows for row in group]
        rewards = [r.grade.reward for group in groups for r in group.rollouts if r.grade.graded]
        metrics = self.take_old_logprobs(flat)
        metrics |= self._take_advantages(flat, rewards)
        return Batch(rows, completion_means(groups, flat), metrics)

    def take_updates(self, updates: Sequence[Sequence[Row]], *, step: int) -> dict[str, float]:
        """Takes an optimiser step of the critic and, after the warm-up, of the policy for each list of rows.

        Raises:
            TrainingError: when too many updates in a row had no finite gradient.
        """
        warming = step <= self.method.critic_warmup_steps
        policy, critic = UpdateTotals(), UpdateTotals()
        self.updater.begin_step(step)
        self.critic.begin_step(step)
        for rows in updates:
            # Both gradients before either step: they meet in a shared trunk, which the policy's optimiser moves.
            values = self.critic.accumulate_gradient(rows, through_trunk=not warming)
            if not warming:
                sums = self.updater.accumulate_gradient(rows, self.updater.denominator(rows))
                policy.add(sums, self.updater.take_step())
            critic.add(values, self.critic.take_step())
        return update_metrics(policy) | {"critic/loss": critic.mean_loss, "critic/grad_norm": critic.mean_grad_norm}

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

    def _take_advantages(self, rows: Sequence[Row], rewards: Sequence[float]) -> dict[str, float]:
        """Gives the rows their old values, returns and advantages, and returns what the critic foresaw."""
        width = max((len(row.completion) for row in rows), default=0)
        mask = torch.arange(width) < torch.tensor([len(row.completion) for row in rows])[:, None]
        for row, of_row in zip(rows, self.critic.values(rows), strict=True):
            row.old_values = of_row
        values = padded((row.old_values for row in rows), width)
        of_tokens, metrics = self._token_rewards(rows, rewards, mask)
        gae = gae_advantages(of_tokens, values, mask, gamma=self.method.gamma, lam=self.method.lam)
        for row, advantages, returns in zip(rows, gae.advantages.numpy(), gae.returns.numpy(), strict=True):
            row.advantages, row.returns = advantages[: len(row.completion)], returns[: len(row.completion)]
        return metrics | {
            "critic/explained_variance": explained_variance(gae.returns[mask], values[mask]),
            "critic/mean_value": float(values.sum()) / max(1, int(mask.sum())),
        }

    def _token_rewards(
        self, rows: Sequence[Row], rewards: Sequence[float], mask: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """Returns the rewards [B, T] of tokens, and the KL in them; without a coefficient no reference is asked."""
        coefficient = self.method.reward_kl_coefficient
        old = padded((row.old_logprobs for row in rows), mask.shape[1])
        ref = padded(self.updater.ref_logprobs(rows), mask.shape[1]) if coefficient > 0.0 else old
        of_tokens = token_rewards(torch.tensor(rewards), old, ref, mask, kl_coefficient=coefficient)
        kl = float((old - ref).sum()) / max(1, int(mask.sum()))
        return of_tokens, {"policy/ref_kl": kl} if coefficient > 0.0 else {}
