"""Taking the updates of a step: clipped loss over micro-batches, one optimiser step per update."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ngrpo.config import OptimizerSettings
from ngrpo.errors import TrainingError
from ngrpo.logprobs import TokenLogprobs, chunked_logprobs
from ngrpo.losses import aggregate_tokens, clipped_policy_loss, kl_divergence
from ngrpo.methods import Method
from ngrpo.models import LanguageModel
from ngrpo.training.batch import MicroBatch, Row, micro_batches

MAX_SKIPPED_UPDATES = 10
"""After so many updates in a row without a finite gradient the run has diverged."""


@dataclass(slots=True)
class UpdateTotals:
    """Sums over the updates of a step, from which its metrics are made."""

    updates: int = 0
    skipped: int = 0
    rows: int = 0
    rows_computed: int = 0
    tokens: int = 0
    loss: float = 0.0
    grad_norm: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, value: Tensor | float, tokens: int) -> None:
        """Adds a mean over `tokens` tokens to the sum of that name."""
        self.sums[name] = self.sums.get(name, 0.0) + float(value) * tokens

    def metrics(self) -> dict[str, float]:
        """Returns the step's metrics: means over updates, and over the tokens that were computed."""
        taken = max(1, self.updates)
        return {
            "update/count": self.updates,
            "update/skipped": self.skipped,
            "update/rows": self.rows,
            "update/rows_computed": self.rows_computed,
            "update/loss": self.loss / taken,
            "update/grad_norm": self.grad_norm / taken,
        } | {name: total / max(1, self.tokens) for name, total in sorted(self.sums.items())}


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
            self.accumulate_gradient(rows, totals)
            self._step(totals)
        return totals

    def accumulate_gradient(self, rows: Sequence[Row], totals: UpdateTotals) -> None:
        """Adds the gradient of an update's loss to the parameters.

        The denominator is that of all rows, so neither the cut into micro-batches nor leaving out rows that carry no
        gradient changes the result.
        """
        denominator = self._denominator(rows)
        computed = rows if self.method.trains_on_zero_advantage else [row for row in rows if row.advantage != 0.0]
        totals.rows += len(rows)
        totals.rows_computed += len(computed)
        budget = self.settings.tokens_per_micro_batch
        for batch in micro_batches(computed, token_budget=budget, device=self.policy.device):
            loss = self._loss(batch, denominator, totals)
            totals.loss += float(loss.detach())
            loss.backward()  # type: ignore[no-untyped-call]

    def old_logprobs(self, rows: Sequence[Row]) -> float:
        """Replaces the rows' old_logprobs by the policy's own and returns the mean absolute change per token."""
        change, tokens = 0.0, 0
        # micro_batches sorts by length in the same stable way, so the pairs come back in the order of `ordered`.
        ordered = iter(sorted(rows, key=len, reverse=True))
        budget = self.settings.tokens_per_micro_batch
        for batch in micro_batches(rows, token_budget=budget, device=self.policy.device):
            with torch.no_grad():
                logprobs = self._score(self.policy, batch).logprobs.cpu()
            for i in range(len(batch.tokens)):
                row = next(ordered)
                new = logprobs[i, : len(row.completion)].numpy()
                change += float(abs(new - row.old_logprobs).sum())
                tokens += len(new)
                row.old_logprobs = new
        return change / max(1, tokens)

    def _denominator(self, rows: Sequence[Row]) -> float:
        if self.method.aggregate == "token_mean":
            return float(sum(len(row.completion) for row in rows))
        if self.method.aggregate == "sequence_mean":
            return float(len(rows))
        return float(len(rows) * self.max_completion_tokens)

    def _loss(self, batch: MicroBatch, denominator: float, totals: UpdateTotals) -> Tensor:
        method, mask = self.method, batch.completion_mask
        tokens = int(mask.sum())
        with_entropy = method.entropy_bonus != 0.0
        scored = self._score(self.policy, batch, entropy_gradient=with_entropy)
        policy_loss = clipped_policy_loss(
            scored.logprobs,
            batch.old_logprobs,
            batch.advantages,
            mask,
            clip_low=method.clip_low,
            clip_high=method.clip_high,
            aggregate=method.aggregate,
            denominator=denominator,
        )
        loss = policy_loss.loss
        totals.tokens += tokens
        totals.add("clip/low_fraction", policy_loss.clip_low_fraction, tokens)
        totals.add("clip/high_fraction", policy_loss.clip_high_fraction, tokens)
        totals.add("policy/approx_kl", policy_loss.approx_kl, tokens)
        totals.add("update/entropy", scored.entropies.detach()[mask].mean(), tokens)
        if with_entropy:
            entropy = aggregate_tokens(scored.entropies, mask, aggregate=method.aggregate, denominator=denominator)
            loss = loss - method.entropy_bonus * entropy
        if method.kl_coefficient > 0.0:
            with torch.no_grad(), self._reference() as reference:
                ref_logprobs = self._score(reference, batch).logprobs
            kl = kl_divergence(scored.logprobs, ref_logprobs, estimator=method.kl_estimator)
            totals.add("policy/ref_kl", kl.detach()[mask].mean(), tokens)
            loss = loss + method.kl_coefficient * aggregate_tokens(
                kl, mask, aggregate=method.aggregate, denominator=denominator
            )
        return loss

    def _score(self, model: LanguageModel, batch: MicroBatch, *, entropy_gradient: bool = False) -> TokenLogprobs:
        """Returns logprobs and entropies [B, T] of the batch's tokens under a model; 0 where there is no token."""
        mask = batch.completion_mask
        with model.autocast():
            hidden = model.hidden_states(batch.input_ids)
            rows = torch.arange(len(mask), device=mask.device)[:, None].expand_as(mask)
            flat = chunked_logprobs(
                hidden[rows[mask], batch.positions[mask]],
                batch.tokens[mask],
                model.head,
                temperature=self.temperature,
                entropy_gradient=entropy_gradient,
            )
        empty = torch.zeros(mask.shape, device=mask.device)
        return TokenLogprobs(
            empty.masked_scatter(mask, flat.logprobs), empty.masked_scatter(mask, flat.entropies)
        )

    @contextmanager
    def _reference(self) -> Iterator[LanguageModel]:
        if self.reference is not None:
            yield self.reference
        else:
            with self.policy.starting_weights():
                yield self.policy

    def _step(self, totals: UpdateTotals) -> None:
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.max_grad_norm)
        if torch.isfinite(norm):
            self.optimizer.step()
            totals.updates += 1
            totals.grad_norm += float(norm)
            self._skipped_in_a_row = 0
        else:  # stepping would make every weight NaN; the count says that it happened
            totals.skipped += 1
            self._skipped_in_a_row += 1
        self.optimizer.zero_grad(set_to_none=True)
        if self._skipped_in_a_row >= MAX_SKIPPED_UPDATES:
            raise TrainingError(
                f"{self._skipped_in_a_row} updates in a row had no finite gradient: the training has diverged; "
                "lower [optimizer] lr, or resume from an earlier checkpoint"
            )
