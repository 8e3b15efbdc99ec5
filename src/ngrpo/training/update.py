"""Taking the updates of a step: clipped loss over micro-batches, one optimiser step per update."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngrpo.config import OptimizerSettings
from ngrpo.fused_loss import LinearHead, fused_token_loss
from ngrpo.kept_tokens import Truncation, joined, kept_sets
from ngrpo.logprobs import TokenLogprobs, chunked_logprobs
from ngrpo.losses import TokenLosses, kl_divergence, load_balancing_loss, token_weights
from ngrpo.methods import Method
from ngrpo.models import LanguageModel
from ngrpo.training.batch import MicroBatch, TokenRow, TrainingRow, micro_batches, values_of
from ngrpo.training.divisions import ROW_VALUES
from ngrpo.training.optimizer import Updater, UpdateSums, UpdateTotals
from ngrpo.types import KeptTokens

KEPT_ROWS = 128
"""Positions whose logits are sorted at a time, in float64."""


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
            [sums] = self.ranks.accumulated(partial(self._accumulated, rows), self.parameters.values())
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
        """Adds the gradient of the rows' part in an update's loss to the parameters; of several ranks, each its own."""
        computed = [row for row in rows if self.carries_gradient(row.advantages)]  # the others need not be computed
        sums = UpdateSums(rows=len(rows), rows_computed=len(computed))
        tokens = sum(len(row.completion) for row in computed)
        with self.policy.packed_attention(self.policy.packs):  # the backward pass may compute activations again
            for batch in self._micro_batches(self.ranks.own(computed)):
                loss = self._loss(batch, denominator, sums, share=len(batch.tokens) / tokens)
                sums.loss = sums.loss + loss.detach()
                loss.backward()  # type: ignore[no-untyped-call]
        return sums

    def logprobs(self, rows: Sequence[TokenRow]) -> list[NDArray[np.float32]]:
        """Returns the logprobs [T] of each row's tokens under the policy as it is."""
        return self._values_of(rows, lambda batch: self._score(self.policy, batch, entropy=False).logprobs)

    @torch.no_grad()
    def with_kept(self, rows: Sequence[TokenRow], truncation: Truncation) -> list[TokenRow]:
        """Returns the rows with what a truncation keeps under the policy as it is, and their own tokens in any case."""
        lm = self.policy

        def keep() -> dict[int, KeptTokens]:
            found: dict[int, KeptTokens] = {}
            for batch in micro_batches(rows, token_budget=self.budget.tokens, device=lm.device, packed=lm.packs):
                with lm.packed_attention(batch.packing is not None), lm.autocast():
                    hidden = batch.predicting(lm.hidden_states(batch.input_ids, batch.packing))
                    parts = zip(torch.split(hidden, KEPT_ROWS), torch.split(batch.tokens, KEPT_ROWS), strict=True)
                    sets = [kept_sets(lm.head(h), truncation, ids, self.temperature) for h, ids in parts]
                found |= {id(row): kept for row, kept in zip(batch.rows, batch.split_kept(joined(sets)), strict=True)}
            return found

        kept = self.fitted(rows, keep)
        return [TokenRow(row.prompt, row.completion, kept=kept[id(row)]) for row in rows]

    def entropies(self, rows: Sequence[TokenRow]) -> list[NDArray[np.float32]]:
        """Returns the entropies [T] of the distributions that each row's tokens were sampled from."""
        return self._values_of(
            rows, lambda batch: cast("Tensor", self._score(self.policy, batch, entropy=True).entropies)
        )

    def ref_logprobs(self, rows: Sequence[TokenRow]) -> list[NDArray[np.float32]]:
        """Returns the logprobs [T] of each row's tokens under the model as it was before training."""
        with self._reference() as reference:
            return self._values_of(rows, lambda batch: self._score(reference, batch, entropy=False).logprobs)

    def _accumulated(self, rows: Sequence[TrainingRow]) -> list[UpdateSums]:
        return [self.fitted(rows, partial(self.accumulate_gradient, rows, self.denominator(rows)))]

    def _micro_batches(self, rows: Sequence[TrainingRow]) -> Iterator[MicroBatch[TrainingRow]]:
        budget, lm = self.budget.tokens, self.policy
        return micro_batches(rows, token_budget=budget, device=lm.device, packed=lm.packs)

    @torch.no_grad()
    def _values_of(
        self, rows: Sequence[TokenRow], function: Callable[[MicroBatch[TokenRow]], Tensor]
    ) -> list[NDArray[np.float32]]:
        lm = self.policy

        def values(own: Sequence[TokenRow]) -> list[NDArray[np.float32]]:
            return self.fitted(
                own,
                lambda: values_of(own, function, token_budget=self.budget.tokens, device=lm.device, packed=lm.packs),
            )

        return self.ranks.spread(rows, values, ROW_VALUES)

    def _loss(self, batch: MicroBatch[TrainingRow], denominator: float, sums: UpdateSums, *, share: float) -> Tensor:
        """Returns a micro-batch's part in an update's loss; `share` is that of its tokens in the update's."""
        loss_of, lm = self._batch_loss(batch, denominator), self.policy
        with lm.autocast():
            if not lm.router_aux_loss_coef:
                hidden = batch.predicting(lm.hidden_states(batch.input_ids, batch.packing))
                return self._policy_loss(batch, hidden, loss_of, sums)
            states, router_logits = lm.routed_hidden_states(batch.input_ids, batch.packing)
            of_tokens = torch.cat([batch.rows_of_tokens(layer) for layer in router_logits])
            balance = load_balancing_loss(of_tokens, lm.experts_per_token)
            sums.add("update/router_aux_loss", balance.detach() * len(batch.tokens))
            loss = self._policy_loss(batch, batch.predicting(states), loss_of, sums)
        return loss + lm.router_aux_loss_coef * share * balance

    def _policy_loss(
        self, batch: MicroBatch[TrainingRow], hidden: Tensor, loss_of: BatchLoss, sums: UpdateSums
    ) -> Tensor:
        """Returns the method's loss of a micro-batch, given the hidden states [N, D] before its completion tokens."""
        lm, method = self.policy, self.method
        entropy = method.entropy_bonus != 0.0
        if method.loss_is_per_token and isinstance(lm.head, LinearHead):
            fused = fused_token_loss(
                hidden,
                batch.tokens,
                lm.head,
                loss_of,
                temperature=self.temperature,
                entropy=entropy,
                kept=batch.kept,
            )
            loss_of.add_facts(sums, fused.logprobs, fused.entropies)
            return fused.loss
        scored = chunked_logprobs(
            hidden,
            batch.tokens,
            lm.head,
            temperature=self.temperature,
            entropy=entropy,
            entropy_gradient=entropy,
            kept=batch.kept,
        )
        loss_of.add_facts(sums, scored.logprobs, scored.entropies)
        return loss_of(scored.logprobs, scored.entropies, slice(None))

    def _batch_loss(self, batch: MicroBatch[TrainingRow], denominator: float) -> BatchLoss:
        ref_logprobs = None
        if self.method.kl_coefficient > 0.0:
            with torch.no_grad(), self._reference() as reference:
                ref_logprobs = self._score(reference, batch, entropy=False).logprobs
        return BatchLoss.of(self.method, batch, denominator, ref_logprobs)

    def _score(self, model: LanguageModel, batch: MicroBatch[Any], *, entropy: bool) -> TokenLogprobs:
        """Returns logprobs and, if wanted, entropies [N] of the batch's tokens under a model, without gradient."""
        with model.packed_attention(batch.packing is not None), model.autocast():
            return chunked_logprobs(
                batch.predicting(model.hidden_states(batch.input_ids, batch.packing)),
                batch.tokens,
                model.head,
                temperature=self.temperature,
                entropy=entropy,
                kept=batch.kept,
            )

    @contextmanager
    def _reference(self) -> Iterator[LanguageModel]:
        if self.reference is not None:
            yield self.reference
        else:
            with self.policy.starting_weights():
                yield self.policy
