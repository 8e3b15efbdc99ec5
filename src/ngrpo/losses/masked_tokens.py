"""Masked tensors of tokens, [B, T]: shapes, log ratios, and how token values become one number."""

from __future__ import annotations

import math
from typing import get_args

import torch
from torch import Tensor

from ngrpo.argument_checks import check_not_negative
from ngrpo.choices import Aggregate
from ngrpo.errors import ConfigError

MAX_LOG_RATIO = 20.0
"""Log ratios are clamped to this many nats before the exponential (as in verl); beyond, the gradient is 0."""


def aggregate_tokens(
    values: Tensor,
    completion_mask: Tensor,
    aggregate: Aggregate = "token_mean",
    denominator: float | None = None,
) -> Tensor:
    """Returns the number that per-token values become: policy loss, KL and entropy go the same way.

    `token_mean`: sum over completion tokens / their number. `sequence_mean`: sum over sequences of each
    one's token mean / number of sequences that have a completion token. `constant`: sum over completion
    tokens / `denominator`. Without any completion token the result is 0, still attached to the graph.

    Args:
        values: [B, T].
        completion_mask: [B, T], nonzero on tokens that the model wrote.
        aggregate: `token_mean`, `sequence_mean` or `constant`.
        denominator: above 0, of the whole update where this is a micro-batch of it: its completion tokens
            (`token_mean`), its sequences with a completion token (`sequence_mean`), or any constant such as
            sequences * longest allowed completion (`constant`, which needs it). None: counted in this batch.

    Returns:
        A 0-dimensional tensor.

    Raises:
        ConfigError: for shapes that do not fit, an unknown aggregate, or a denominator that is missing or
            not above 0.

    Examples:
        >>> values, mask = torch.tensor([[1.0, 3.0], [5.0, 9.0]]), torch.tensor([[1, 1], [1, 0]])
        >>> aggregate_tokens(values, mask), aggregate_tokens(values, mask, "sequence_mean")
        (tensor(3.), tensor(3.5000))

    References:
        Token mean: DAPO, https://arxiv.org/abs/2503.14476; constant: Dr.GRPO,
        https://arxiv.org/abs/2503.20783
    """
    check_shapes(values=values, completion_mask=completion_mask)
    mask = completion_mask != 0
    denominator = _checked_denominator(mask, aggregate, denominator)
    kept = torch.where(mask, at_least_float32(values), 0.0)
    if aggregate == "sequence_mean":
        kept = kept.sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    return kept.sum() / denominator


def _checked_denominator(mask: Tensor, aggregate: Aggregate, denominator: float | None) -> float:
    check_aggregate(aggregate)
    if denominator is None:
        return max(loss_denominator(mask, aggregate), 1)
    if not (math.isfinite(denominator) and denominator > 0):
        raise ConfigError(f"denominator is {denominator}; allowed are finite numbers above 0")
    return denominator


def token_weights(lengths: Tensor, aggregate: Aggregate, denominator: float) -> Tensor:
    """Returns the weight [N] of each token's value in what `aggregate_tokens` makes of the N tokens of sequences.

    Args:
        lengths: [B] tokens of each sequence.
        aggregate: `token_mean`, `sequence_mean` or `constant`.
        denominator: see `aggregate_tokens`.

    Raises:
        ConfigError: for an unknown aggregate.

    Examples:
        >>> token_weights(torch.tensor([2, 1]), "sequence_mean", 2.0)
        tensor([0.2500, 0.2500, 0.5000])
    """
    check_aggregate(aggregate)
    of_sequence = 1.0 / lengths if aggregate == "sequence_mean" else torch.ones(len(lengths), device=lengths.device)
    return (of_sequence / denominator).repeat_interleave(lengths)


def loss_denominator(completion_mask: Tensor, aggregate: Aggregate) -> int:
    """Returns what `aggregate_tokens` divides by: completion tokens, or sequences that have one.

    The denominators of micro-batches sum to that of the whole update.

    Args:
        completion_mask: [B, T], nonzero on tokens that the model wrote.
        aggregate: `token_mean` or `sequence_mean`.

    Raises:
        ConfigError: for an unknown aggregate, and for `constant`, whose denominator is a setting and not a
            count.

    Examples:
        >>> loss_denominator(torch.tensor([[1, 1], [1, 0], [0, 0]]), "sequence_mean")
        2
    """
    check_aggregate(aggregate)
    if aggregate == "constant":
        raise ConfigError("aggregate 'constant' needs a denominator, such as sequences * longest completion")
    mask = completion_mask != 0
    return int(mask.sum() if aggregate == "token_mean" else mask.any(dim=1).sum())


def check_aggregate(aggregate: str) -> None:
    if aggregate not in get_args(Aggregate):
        raise ConfigError(f"aggregate is {aggregate!r}; allowed are {', '.join(map(repr, get_args(Aggregate)))}")


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
