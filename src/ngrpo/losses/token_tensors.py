"""Masked tensors of tokens, [B, T]: shapes, log ratios, at least float32."""

from __future__ import annotations

import torch
from torch import Tensor

from ngrpo.argument_checks import check_not_negative
from ngrpo.errors import ConfigError

MAX_LOG_RATIO = 20.0
"""Log ratios are clamped to this many nats before the exponential (as in verl); beyond, the gradient is 0."""


def checked_tokens(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    completion_mask: Tensor,
    *,
    clip_low: float,
    clip_high: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the mask, the advantages and the log ratios, all [B, T]; the latter two are 0 outside the mask."""
    check_shapes(logprobs=logprobs, old_logprobs=old_logprobs, completion_mask=completion_mask)
    check_not_negative("clip_low", clip_low)
    check_not_negative("clip_high", clip_high)
    mask = completion_mask != 0
    return mask, per_token(advantages, mask), log_ratios(logprobs, old_logprobs, mask)


def log_ratios(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    return masked_difference(logprobs, old_logprobs.detach(), mask).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


def masked_difference(left: Tensor, right: Tensor, mask: Tensor) -> Tensor:
    """Returns left - right in at least float32, and 0 without gradient outside the mask."""
    return torch.where(mask, at_least_float32(left) - at_least_float32(right), 0.0)


def per_token(advantages: Tensor, mask: Tensor) -> Tensor:
    """Returns the advantages as [B, T], 0 outside the mask."""
    advantages = at_least_float32(advantages.detach())
    if advantages.shape == mask.shape[:1]:
        advantages = advantages[:, None].expand(mask.shape)
    if advantages.shape != mask.shape:
        raise ConfigError(
            f"advantages have shape {list(advantages.shape)}; allowed are {list(mask.shape[:1])} and {list(mask.shape)}"
        )
    return torch.where(mask, advantages, 0.0)


def at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def check_shapes(**tensors: Tensor) -> None:
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    first = next(iter(shapes.values()))
    if len(first) != 2 or any(shape != first for shape in shapes.values()):
        given = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ConfigError(f"the shapes are {given}; allowed is one shape [B, T] for all")
