"""The loss of a micro-batch as a function of its tokens' logprobs and entropies, all of them or some."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ngrpo.losses import TokenLosses, kl_divergence, token_weights
from ngrpo.methods import Method
from ngrpo.training.batch import MicroBatch, TrainingRow
from ngrpo.training.optimizer import UpdateSums


@dataclass(frozen=True, slots=True, eq=False)
class BatchLoss:
    """What a method's loss needs of each token of a micro-batch, [N]; `weights` are those in the update's loss."""

    method: Method
    batch: MicroBatch[TrainingRow]
    old_logprobs: Tensor
    advantages: Tensor
    weights: Tensor
    ref_logprobs: Tensor | None

    @classmethod
    def of(
        cls, method: Method, batch: MicroBatch[TrainingRow], denominator: float, ref_logprobs: Tensor | None
    ) -> BatchLoss:
        """Returns the loss of a micro-batch.

        Args:
            method: clip, KL, entropy bonus and aggregation.
            batch: its rows.
            denominator: what the summed loss of the whole update is divided by.
            ref_logprobs: [N] of the reference model; None without KL.
        """
        return cls(
            method,
            batch,
            batch.flat(row.old_logprobs for row in batch.rows),
            batch.flat(row.advantages for row in batch.rows),
            token_weights(batch.completion_mask.sum(dim=1), method.aggregate, denominator),
            ref_logprobs,
        )

    def __call__(self, logprobs: Tensor, entropies: Tensor | None, part: slice) -> Tensor:
        """Returns the part [] in the update's loss of the tokens in `part`, given their logprobs and entropies [n]."""
        method = self.method
        values = self._token_losses(logprobs, part).values
        if entropies is not None:
            values = values - method.entropy_bonus * entropies
        if self.ref_logprobs is not None:
            kl = self._kl(logprobs, self.ref_logprobs[part])
            values = values + method.kl_coefficient * kl
        return (values * self.weights[part]).sum()

    @torch.no_grad()
    def add_facts(self, sums: UpdateSums, logprobs: Tensor, entropies: Tensor | None) -> None:
        """Adds what an update's metrics are made of, given logprobs and entropies [N] of all tokens."""
        losses = self._token_losses(logprobs, slice(None))
        sums.tokens += len(logprobs)
        sums.add("clip/low_fraction", losses.clip_low.sum())
        sums.add("clip/high_fraction", losses.clip_high.sum())
        sums.add("policy/approx_kl", -losses.log_ratios.sum())
        if entropies is not None:
            sums.add("update/entropy", entropies.sum())
        if self.ref_logprobs is not None:
            sums.add("policy/ref_kl", self._kl(logprobs, self.ref_logprobs).sum())

    def _token_losses(self, logprobs: Tensor, part: slice) -> TokenLosses:
        """Returns the losses [n] of tokens; where they depend on each other, of all tokens, which must be given."""
        old, advantages = self.old_logprobs[part], self.advantages[part]
        if self.method.loss_is_per_token:
            of = self.method.token_losses(logprobs[None], old[None], advantages[None], torch.ones_like(old)[None])
            return TokenLosses(of.values[0], of.clip_low[0], of.clip_high[0], of.log_ratios[0])
        spread, mask = self.batch.spread, self.batch.completion_mask
        of = self.method.token_losses(spread(logprobs), spread(old), spread(advantages), mask)
        return TokenLosses(of.values[mask], of.clip_low[mask], of.clip_high[mask], of.log_ratios[mask])

    def _kl(self, logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
        return kl_divergence(logprobs[None], ref_logprobs[None], estimator=self.method.kl_estimator)[0]
