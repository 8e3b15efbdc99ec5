"""Taking the updates of a step: clipped loss over micro-batches, one optimiser step per update."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ngrpo.config import OptimizerSettings
from ngrpo.errors import TrainingError
from ngrpo.logprobs import TokenLogprobs, chunked_logprobs
from ngrpo.losses import aggregate_tokens, kl_divergence
from ngrpo.methods import Method
from ngrpo.models import LanguageModel
from ngrpo.training.batch import MicroBatch, Row, micro_batches

MAX_SKIPPED_UPDATES = 10
"""After so many updates in a row without a finite gradient the run has diverged."""


_MEANS = ("clip/low_fraction", "clip/high_fraction", "policy/approx_kl")
"""Means over the computed tokens that every step reports, 0 where it computed none."""


@dataclass(slots=True, eq=False)
class UpdateSums:
    """Sums over the micro-batches of one update; tensors, because reading each at once would wait for the device."""

    rows: int = 0
    rows_computed: int = 0
    tokens: int = 0
    loss: Tensor | float = 0.0
    per_token: dict[str, Tensor] = field(default_factory=dict)

    def add(self, name: str, total: Tensor) -> None:
        """Adds a sum over tokens to that of its name."""
        self.per_token[name] = self.per_token[name] + total if name in self.per_token else total


@dataclass(slots=True)
class UpdateTotals:
    """Sums over the updates of a step, from which its metrics are made; a skipped update adds to the counts only."""

    updates: int = 0
    skipped: int = 0
    rows: int = 0
    rows_computed: int = 0
    tokens: int = 0
    loss: float = 0.0
    grad_norm: float = 0.0
    per_token: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_MEANS, 0.0))

    def add(self, sums: UpdateSums, norm: float) -> None:
        """Adds an update whose gradient had this norm; when that is not finite the update was skipped."""
        self.rows += sums.rows
        self.rows_computed += sums.rows_computed
        if not math.isfinite(norm):
            self.skipped += 1
            return
        self.updates += 1
        self.tokens += sums.tokens
        self.loss += float(sums.loss)
        self.grad_norm += norm
        for name, total in sums.per_token.items():
            self.per_token[name] = self.per_token.get(name, 0.0) + float(total)

    def metrics(self) -> dict[str, float]:
        """Returns the step's metrics: means over the updates taken, and over the tokens computed in them."""
        taken = max(1, self.updates)
        return {
            "update/count": self.updates,
            "update/skipped": self.skipped,
            "update/rows": self.rows,
            "update/rows_computed": self.rows_computed,
            "update/loss": self.loss / taken,
            "update/grad_norm": self.grad_norm / taken,
        } | {name: total / max(1, self.tokens) for name, total in sorted(self.per_token.items())}


class PolicyUpdater:
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
        self.policy, self.reference, self.method, self.settings = policy, reference, method, settings
        self.temperature, self.max_completion_tokens = temperature, max_completion_tokens
        self.parameters = dict(policy.trained_parameters())
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay
        )
        self._skipped_in_a_row = 0

    def learning_rate(self, step: int) -> float:
        """Returns the learning rate of a step, counted from 1."""
        if self.settings.schedule == "warmup" and step <= self.settings.warmup_steps:
            return self.settings.lr * step / self.settings.warmup_steps
        return self.settings.lr

    def take_updates(self, updates: Sequence[Sequence[Row]], *, step: int) -> UpdateTotals:
        """Takes one optimiser step for each list of rows and returns what happened.

        Raises:
            TrainingError: when too many updates in a row had no finite gradient.
        """
        totals = UpdateTotals()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)
        for rows in updates:
            sums = self.accumulate_gradient(rows, self.denominator(rows))
            totals.add(sums, self._step())
        return totals

    def denominator(self, rows: Sequence[Row]) -> float:
        """Returns what the summed loss of an update is divided by: its tokens, sequences, or a constant.

        It is that of all rows of the update, so neither the cut into micro-batches nor leaving out rows that carry no
        gradient changes the result.
        """
        if self.method.aggregate == "token_mean":
            return float(sum(len(row.completion) for row in rows))
        if self.method.aggregate == "sequence_mean":
            return float(len(rows))
        return float(len(rows) * self.max_completion_tokens)

    def rows_with_gradient(self, rows: Sequence[Row]) -> list[Row]:
        """Returns the rows that can carry gradient under this method: the others need not be computed."""
        return [row for row in rows if row.advantage != 0.0 or self.method.trains_on_zero_advantage]

    def accumulate_gradient(self, rows: Sequence[Row], denominator: float) -> UpdateSums:
        """Adds the gradient of the rows' part in an update's loss to the parameters."""
        computed = self.rows_with_gradient(rows)
        sums = UpdateSums(rows=len(rows), rows_computed=len(computed))
        budget = self.settings.tokens_per_micro_batch
        for batch in micro_batches(computed, token_budget=budget, device=self.policy.device):
            loss = self._loss(batch, denominator, sums)
            sums.loss = sums.loss + loss.detach()
            loss.backward()  # type: ignore[no-untyped-call]
        return sums

    def old_logprobs(self, rows: Sequence[Row]) -> float:
        """Replaces the rows' old_logprobs by the policy's own and returns the mean absolute change per token."""
        change, tokens = 0.0, 0
        # micro_batches sorts by length in the same stable way, so the pairs come back in the order of `ordered`.
        ordered = iter(sorted(rows, key=len, reverse=True))
        budget = self.settings.tokens_per_micro_batch
        for batch in micro_batches(rows, token_budget=budget, device=self.policy.device):
            with torch.no_grad():
                logprobs = self._score(self.policy, batch, entropy=False).logprobs.cpu()
            for i in range(len(batch.tokens)):
                row = next(ordered)
                new = logprobs[i, : len(row.completion)].numpy()
                change += float(abs(new - row.old_logprobs).sum())
                tokens += len(new)
                row.old_logprobs = new
        return change / max(1, tokens)

    def _loss(self, batch: MicroBatch, denominator: float, sums: UpdateSums) -> Tensor:
        method, mask = self.method, batch.completion_mask
        scored = self._score(self.policy, batch, entropy=method.entropy_bonus != 0.0)
        policy_loss = method.policy_loss(
            scored.logprobs, batch.old_logprobs, batch.advantages, mask, denominator=denominator
        )
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

    def _score(self, model: LanguageModel, batch: MicroBatch, *, entropy: bool) -> TokenLogprobs:
        """Returns logprobs and, if wanted, entropies [B, T] of the batch's tokens under a model; 0 in the padding."""
        mask = batch.completion_mask
        with model.autocast():
            hidden = model.hidden_states(batch.input_ids)
            rows = torch.arange(len(mask), device=mask.device)[:, None].expand_as(mask)
            flat = chunked_logprobs(
                hidden[rows[mask], batch.positions[mask]],
                batch.tokens[mask],
                model.head,
                temperature=self.temperature,
                entropy=entropy,
                entropy_gradient=entropy,
            )
        padding = torch.zeros(mask.shape, device=mask.device)
        entropies = None if flat.entropies is None else padding.masked_scatter(mask, flat.entropies)
        return TokenLogprobs(padding.masked_scatter(mask, flat.logprobs), entropies)

    @contextmanager
    def _reference(self) -> Iterator[LanguageModel]:
        if self.reference is not None:
            yield self.reference
        else:
            with self.policy.starting_weights():
                yield self.policy

    def _step(self) -> float:
        """Takes an optimiser step with the gradient that was accumulated, unless it is not finite; returns its norm."""
        if all(parameter.grad is None for parameter in self.parameters.values()):
            # No row was computed. AdamW passes over a missing gradient, but under one of 0 its moments and the weights
            # decay: that is what computing the rows would have given. A parameter that never had any stays as it is.
            for parameter in self.optimizer.state or self.parameters.values():
                parameter.grad = torch.zeros_like(parameter)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.max_grad_norm))
        if math.isfinite(norm):
            self.optimizer.step()
            self._skipped_in_a_row = 0
        else:  # stepping would make every weight NaN
            self._skipped_in_a_row += 1
        self.optimizer.zero_grad(set_to_none=True)
        if self._skipped_in_a_row >= MAX_SKIPPED_UPDATES:
            raise TrainingError(
                f"{self._skipped_in_a_row} updates in a row had no finite gradient: the training has diverged; "
                "lower [optimizer] lr, or resume from an earlier checkpoint"
            )
        return norm
