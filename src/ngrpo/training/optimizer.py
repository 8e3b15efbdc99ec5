"""What every trained model shares: its parameters, their AdamW, how a step of it is taken, and what it adds up to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from ngrpo.config import OptimizerSettings
from ngrpo.errors import MissingDependencyError, TrainingError, TrippedError
from ngrpo.models.out_of_memory import is_out_of_memory
from ngrpo.training.memory import MicroBatchBudget
from ngrpo.training.ranks import ALONE, Ranks

Result = TypeVar("Result")

MAX_SKIPPED_UPDATES = 10
"""After so many updates in a row without a finite gradient the run has diverged."""

_MEANS = ("clip/low_fraction", "clip/high_fraction", "policy/approx_kl")
"""Means over the computed tokens that every step reports, 0 where it computed none."""
_FUSED_DEVICES = ("cpu", "cuda")
"""Where torch has an AdamW of one kernel."""


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

    def to_json(self) -> dict[str, Any]:
        """Returns what differs between ranks, as JSON."""
        per_token = {name: float(total) for name, total in self.per_token.items()}
        return {"tokens": self.tokens, "loss": float(self.loss), "per_token": per_token}

    @classmethod
    def joined(cls, parts: Sequence[Mapping[str, Any]], *, rows: int, computed: int) -> Self:
        """Returns the sums over all ranks, of `to_json` of each; the numbers of rows are those of the whole update."""
        names = dict.fromkeys(name for part in parts for name in part["per_token"])
        per_token = {
            name: torch.tensor(sum(p["per_token"].get(name, 0.0) for p in parts), dtype=torch.float64) for name in names
        }
        tokens, loss = sum(part["tokens"] for part in parts), sum(part["loss"] for part in parts)
        return cls(rows, computed, tokens, loss, per_token)


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
    per_token: dict[str, float] = field(default_factory=dict)

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

    @property
    def mean_loss(self) -> float:
        """Mean over the updates taken, 0 without any."""
        return self.loss / max(1, self.updates)

    @property
    def mean_grad_norm(self) -> float:
        """Mean over the updates taken, of the norm before it is cut; 0 without any."""
        return self.grad_norm / max(1, self.updates)


def _adamw(parameters: Sequence[nn.Parameter], settings: OptimizerSettings, lr: float) -> torch.optim.Optimizer:
    """Returns the AdamW that `[optimizer] name` asks for.

    Raises:
        MissingDependencyError: when its package is not installed.
    """
    if settings.name == "adamw_8bit":
        if find_spec("bitsandbytes") is None:
            raise MissingDependencyError("bitsandbytes", "bitsandbytes", "[optimizer] name 'adamw_8bit'")
        from bitsandbytes.optim import AdamW8bit

        optimizer: torch.optim.Optimizer = AdamW8bit(
            parameters, lr=lr, betas=settings.betas, weight_decay=settings.weight_decay
        )
        return optimizer
    fused = all(parameter.device.type in _FUSED_DEVICES for parameter in parameters)
    return torch.optim.AdamW(parameters, lr=lr, betas=settings.betas, weight_decay=settings.weight_decay, fused=fused)


class Updater:
    """Named parameters, their AdamW, and how one step of it is taken.

    Args:
        parameters: what is trained, by name.
        settings: the `[optimizer]` table; its schedule holds for every learning rate.
        lr: the learning rate.
        lr_key: the setting that it comes from, for messages.
    """

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], settings: OptimizerSettings, *, lr: float, lr_key: str
    ) -> None:
        self.parameters, self.settings, self.lr, self.lr_key = dict(parameters), settings, lr, lr_key
        self.optimizer = _adamw(list(self.parameters.values()), settings, lr)
        self.budget = MicroBatchBudget(settings.tokens_per_micro_batch)
        self.ranks: Ranks = ALONE
        self.stops_when_not_finite = True
        self._skipped_in_a_row = 0

    def fitted(self, rows: Sequence[Sized], function: Callable[[], Result]) -> Result:
        """Returns what a function of rows returns, with micro-batches that fit into memory; see `MicroBatchBudget`."""
        longest = max(map(len, rows), default=1)
        return self.budget.fitted(function, longest=longest, undo=self.drop_gradient)

    def drop_gradient(self) -> None:
        """Removes the gradient that was accumulated."""
        self.optimizer.zero_grad(set_to_none=True)

    def learning_rate(self, step: int) -> float:
        """Returns the learning rate of a step, counted from 1."""
        return self.settings.scheduled(self.lr, step)

    def begin_step(self, step: int) -> None:
        """Sets the learning rate of a step, counted from 1."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)

    def take_step(self) -> float:
        """Takes an optimiser step with the gradient that was accumulated, unless it is not finite; returns its norm.

        Raises:
            TrainingError: when memory runs out in it.
            TrippedError: when too many in a row had no finite gradient.
        """
        if all(parameter.grad is None for parameter in self.parameters.values()):
            # No row was computed. AdamW passes over a missing gradient, but under one of 0 its moments and the weights
            # decay: that is what computing the rows would have given. A parameter that never had any stays as it is.
            for parameter in self.optimizer.state or self.parameters.values():
                parameter.grad = torch.zeros_like(parameter)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.max_grad_norm))
        if math.isfinite(norm):
            self._step()
            self._skipped_in_a_row = 0
        else:  # stepping would make every weight NaN
            self._skipped_in_a_row += 1
        self.drop_gradient()
        if self.stops_when_not_finite and self._skipped_in_a_row >= MAX_SKIPPED_UPDATES:
            raise TrippedError(
                f"{self._skipped_in_a_row} updates in a row had no finite gradient: training has diverged; "
                f"lower {self.lr_key} and resume from an earlier checkpoint, or leave 'not_finite' out of [run] "
                "tripwires"
            )
        return norm

    def _step(self) -> None:
        try:
            self.optimizer.step()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            # Some weights may be updated and others not, so that it cannot be made again.
            raise TrainingError(
                "out of memory in the optimiser's step, which needs 8 bytes per trained parameter for AdamW's moments: "
                "train a [model.lora] or a smaller model, or give more memory; the last checkpoint is whole, --resume "
                "auto continues from it"
            ) from None


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
