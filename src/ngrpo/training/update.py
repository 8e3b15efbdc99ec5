"""Taking the updates of a step: clipped loss over micro-batches, one optimiser step per update."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngrpo.config import OptimizerSettings
from ngrpo.logprobs import TokenLogprobs, chunked_logprobs
from ngrpo.losses import aggregate_tokens, kl_divergence
from ngrpo.methods import Method
from ngrpo.models import LanguageModel
from ngrpo.training.batch import MicroBatch, TokenRow, TrainingRow, micro_batches, values_of
from ngrpo.training.optimizer import Updater, UpdateSums, UpdateTotals

_MEANS = ("clip/low_fraction", "clip/high_fraction", "policy/approx_kl")
"""Means over the computed tokens that every step reports, 0 where it computed none."""


class PolicyUpdater(Updater):
    """The policy, its optimiser and, where the method has a KL term, the frozen reference model.

    Args:
        policy: the model that is trained.
        reference: the model as it was before training, or None to switch adapters off instead.
        method: clip, KL, entropy bonus and aggregation.
        settings: the `[optimizer]` table.
        temperature: the logits are divided by it, as in sampling.
        max_completion_tokens: width of a completion in the constant denominator.
    """

    def __init__(
        self,
        policy: LanguageModel,
        reference: LanguageModel | None,
        method: Method,
        settings: OptimizerSettings,
        *,
        temperature: float,
        max_completion_tokens: int,
    ) -> None:
        super().__init__(dict(policy.trained_parameters()), settings, lr=settings.lr, lr_key="[optimizer] lr")
        self.policy, self.reference, self.method = policy, reference, method
        self.temperature, self.max_completion_tokens = temperature, max_completion_tokens

    def take_updates(self, updates: Sequence[Sequence[TrainingRow]], *, step: int) -> UpdateTotals:
        """Takes one optimiser step for each list of rows and returns what happened.

        Raises:
            TrainingError: when too many updates in a row had no finite gradient.
        """
        totals = UpdateTotals()
        self.begin_step(step)
        for rows in updates:
            sums = self.fitted(rows, partial(self.accumulate_gradient, rows, self.denominator(rows)))
            totals.add(sums, self.take_step())
        return totals

    def denominator(self, rows: Sequence[TrainingRow]) -> float:
        """Returns what the summed loss of an update is divided by: its tokens, sequences, or a constant.

        It is that of all rows of the update, so neither the cut into micro-batches nor leaving out rows that carry no
        gradient changes the result.
        """
        if self.method.aggregate == "token_mean":
            return float(sum(len(row.completion) for row in rows))
        if self.method.aggregate == "sequence_mean":
            return float(len(rows))
        return float(len(rows) * self.max_completion_tokens)

    def carries_gradient(self, advantages: NDArray[np.float32]) -> bool:
        """Returns whether a row with these advantages [T] can carry gradient under this method."""
        return self.method.trains_on_zero_advantage or bool(advantages.any())

    def accumulate_gradient(self, rows: Sequence[TrainingRow], denominator: float) -> UpdateSums:
        """Adds the gradient of the rows' part in an update's loss to the parameters."""
        computed = [row for row in rows if self.carries_gradient(row.advantages)]  # the others need not be computed
        sums = UpdateSums(rows=len(rows), rows_computed=len(computed))
        for batch in micro_batches(computed, token_budget=self.budget.tokens, device=self.policy.device):
            loss = self._loss(batch, denominator, sums)
            sums.loss = sums.loss + loss.detach()
            loss.backward()  # type: ignore[no-untyped-call]
        return sums

    def logprobs(self, rows: Sequence[TokenRow]) -> list[NDArray[np.float32]]:
        """Returns the logprobs [T] of each row's tokens under the policy as it is."""
        return self._values_of(rows, lambda batch: self._score(self.policy, batch, entropy=False).logprobs)

    def entropies(self, rows: Sequence[TokenRow]) -> list[NDArray[np.float32]]:
        """Returns the entropies [T] of the distributions that each row's tokens were sampled from."""
        return self._values_of(
            rows, lambda batch: cast("Tensor", self._score(self.policy, batch, entropy=True).entropies)
        )

    def ref_logprobs(self, rows: Sequence[TokenRow]) -> list[NDArray[np.float32]]:
        """Returns the logprobs [T] of each row's tokens under the model as it was before training."""
        with self._reference() as reference:
            return self._values_of(rows, lambda batch: self._score(reference, batch, entropy=False).logprobs)

    @torch.no_grad()
    def _values_of(
        self, rows: Sequence[TokenRow], function: Callable[[MicroBatch[TokenRow]], Tensor]
    ) -> list[NDArray[np.float32]]:
        device = self.policy.device
        return self.fitted(rows, lambda: values_of(rows, function, token_budget=self.budget.tokens, device=device))

    def _loss(self, batch: MicroBatch[TrainingRow], denominator: float, sums: UpdateSums) -> Tensor:
        method, mask = self.method, batch.completion_mask
        scored = self._score(self.policy, batch, entropy=method.entropy_bonus != 0.0)
        old_logprobs = batch.per_token(row.old_logprobs for row in batch.rows)
        advantages = batch.per_token(row.advantages for row in batch.rows)
        policy_loss = method.policy_loss(scored.logprobs, old_logprobs, advantages, mask, denominator=denominator)
        loss = policy_loss.loss
        tokens = mask.sum()
        sums.tokens += int(tokens)
        sums.add("clip/low_fraction", policy_loss.clip_low_fraction * tokens)
        sums.add("clip/high_fraction", policy_loss.clip_high_fraction * tokens)
        sums.add("policy/approx_kl", policy_loss.approx_kl * tokens)
        if scored.entropies is not None:
            sums.add("update/entropy", scored.entropies.detach().sum())
            loss = loss - method.entropy_bonus * aggregate_tokens(scored.entropies, mask, method.aggregate, denominator)
        if method.kl_coefficient > 0.0:
            with torch.no_grad(), self._reference() as reference:
                ref_logprobs = self._score(reference, batch, entropy=False).logprobs
            kl = kl_divergence(scored.logprobs, ref_logprobs, estimator=method.kl_estimator, completion_mask=mask)
            sums.add("policy/ref_kl", kl.detach().sum())
            loss = loss + method.kl_coefficient * aggregate_tokens(kl, mask, method.aggregate, denominator)
        return loss

    def _score(self, model: LanguageModel, batch: MicroBatch[Any], *, entropy: bool) -> TokenLogprobs:
        """Returns logprobs and, if wanted, entropies [B, T] of the batch's tokens under a model; 0 in the padding."""
        with model.autocast():
            flat = chunked_logprobs(
                batch.predicting(model.hidden_states(batch.input_ids)),
                batch.tokens[batch.completion_mask],
                model.head,
                temperature=self.temperature,
                entropy=entropy,
                entropy_gradient=entropy,
            )
        entropies = None if flat.entropies is None else batch.spread(flat.entropies)
        return TokenLogprobs(batch.spread(flat.logprobs), entropies)

    @contextmanager
    def _reference(self) -> Iterator[LanguageModel]:
        if self.reference is not None:
            yield self.reference
        else:
            with self.policy.starting_weights():
                yield self.policy


def update_metrics(totals: UpdateTotals) -> dict[str, float]:
    """Returns the metrics of the policy's updates: means over those taken, and over the tokens computed in them."""
    means = dict.fromkeys(_MEANS, 0.0) | totals.per_token
    return {
        "update/count": totals.updates,
        "update/skipped": totals.skipped,
        "update/rows": totals.rows,
        "update/rows_computed": totals.rows_computed,
        "update/loss": totals.mean_loss,
        "update/grad_norm": totals.mean_grad_norm,
    } | {name: total / max(1, totals.tokens) for name, total in sorted(means.items())}
