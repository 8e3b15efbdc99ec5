"""The `[optimizer]` table."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, field_validator

from ngrpo.settings import Settings


class OptimizerSettings(Settings):
    """How the updates are taken: AdamW."""

    name: Literal["adamw", "adamw_8bit"] = "adamw"
    """'adamw', or 'adamw_8bit': moments in 8 bits by the package bitsandbytes, a quarter of the memory; tensors of
    fewer than 4,096 values keep 32 bits. Local engine only."""

    lr: float = Field(1e-6, gt=0.0)
    """Learning rate."""
    schedule: Literal["constant", "warmup", "linear", "cosine"] = "constant"
    """'constant'; 'warmup': linear from 0 over warmup_steps, then constant; 'linear' and 'cosine': such a warm-up, then
    falling until decay_steps."""
    warmup_steps: int = Field(0, ge=0)
    """Steps of the warm-up."""
    decay_steps: int = Field(0, ge=0)
    """The step at whose end 'linear' and 'cosine' reach their lowest rate; 0 for [run] steps. To resume with more
    steps, keep the first run's number."""
    decay_to: float = Field(0.0, ge=0.0, le=1.0)
    """The lowest rate of 'linear' and 'cosine', as a share of lr."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay rates."""
    weight_decay: float = Field(0.01, ge=0.0)
    """AdamW's weight decay."""
    max_grad_norm: float = Field(1.0, gt=0.0)
    """The gradient of an update is scaled down to this norm."""
    updates_per_step: int = Field(4, ge=1)
    """Optimiser updates per step; the groups of a step are divided evenly among them."""
    passes_per_step: int = Field(1, ge=1)
    """How often each group is trained on in a step; divides updates_per_step."""
    tokens_per_micro_batch: int = Field(8192, ge=1)
    """Tokens, padding included, in one forward pass; changes memory, not the result beyond rounding."""

    def scheduled(self, lr: float, step: int) -> float:
        """Returns what the schedule makes of a learning rate in a step, counted from 1.

        The first step after the warm-up has lr; the last one is a step above the lowest rate, as in transformers.
        """
        if self.schedule == "constant":
            return lr
        if step <= self.warmup_steps:
            return lr * step / self.warmup_steps
        if self.schedule == "warmup":
            return lr
        passed = min(1.0, (step - 1 - self.warmup_steps) / (self.decay_steps - self.warmup_steps))
        share = 1.0 - passed if self.schedule == "linear" else (1.0 + math.cos(math.pi * passed)) / 2.0
        return lr * (self.decay_to + (1.0 - self.decay_to) * share)

    @property
    def falls(self) -> bool:
        """True for a schedule that needs decay_steps."""
        return self.schedule in {"linear", "cosine"}

    @field_validator("betas")
    @classmethod
    def _betas_in_range(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0.0 <= beta < 1.0 for beta in betas):
            raise ValueError("each must be at least 0 and below 1")
        return betas
