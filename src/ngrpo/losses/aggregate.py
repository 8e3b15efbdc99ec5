"""Token values averaged to one number: over all tokens, over sequences, or by a constant."""

from __future__ import annotations

import math
from typing import get_args

import torch
from torch import Tensor

from ngrpo.choices import Aggregate
from ngrpo.errors import ConfigError
from ngrpo.losses.token_tensors import at_least_float32, check_shapes


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

    Example:
        >>> values, mask = torch.tensor([[1.0, 3.0], [5.0, 9.0]]), torch.tensor([[1, 1], [1, 0]])
        >>> aggregate_tokens(values, mask), aggregate_tokens(values, mask, "sequence_mean")
        (tensor(3.), tensor(3.5000))

    References:
        Token mean: DAPO, https://arxiv.org/abs/2503.14476; constant: Dr.GRPO,
        https://arxiv.org/abs/2503.20783
    """
    check_shapes(values=values, completion_mask=completion_mask)
    check_aggregate(aggregate)
    mask = completion_mask != 0
    if denominator is None:
        denominator = max(loss_denominator(mask, aggregate), 1)
    if not (math.isfinite(denominator) and denominator > 0):
        raise ConfigError(f"denominator is {denominator}; allowed are finite numbers above 0")
    kept = torch.where(mask, at_least_float32(values), 0.0)
    if aggregate == "sequence_mean":
        kept = kept.sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    return kept.sum() / denominator


def loss_denominator(completion_mask: Tensor, aggregate: Aggregate) -> int:
    """Returns what `aggregate_tokens` divides by: completion tokens, or sequences that have one.

    The denominators of micro-batches sum to that of the whole update.

    Args:
        completion_mask: [B, T], nonzero on tokens that the model wrote.
        aggregate: `token_mean` or `sequence_mean`.

    Raises:
        ConfigError: for an unknown aggregate, and for `constant`, whose denominator is a setting and not a
            count.

    Example:
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
