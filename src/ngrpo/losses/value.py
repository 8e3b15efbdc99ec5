"""The clipped value loss of a critic."""

from __future__ import annotations

import torch
from torch import Tensor

from ngrpo.argument_checks import check_not_negative
from ngrpo.losses.masked_tokens import aggregate_tokens, check_shapes, masked_difference


def value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    completion_mask: Tensor,
    *,
    clip: float | None,
    denominator: float | None = None,
) -> Tensor:
    """Returns the critic's clipped squared error, the token mean of

        max((V - R)^2, (clamp(V, V_old - clip, V_old + clip) - R)^2) / 2

    A value that moved beyond the clip towards its return gets no further gradient. Without any completion
    token the loss is 0.

    Args:
        values: [B, T] of the current critic; the only argument that gets a gradient.
        old_values: [B, T] of the critic before the updates of this step.
        returns: [B, T] from `gae_advantages`.
        completion_mask: [B, T], nonzero on tokens that the model wrote.
        clip: at least 0, in units of reward; None for the plain squared error. The reference settings have
            0.5.
        denominator: number of completion tokens of the whole update; None for those of this batch.

    Returns:
        A 0-dimensional tensor.

    Raises:
        ConfigError: for shapes that do not fit, a negative clip or a denominator not above 0.

    Examples:
        >>> one = torch.ones(1, 1)
        >>> value_loss(3 * one, one, 2 * one, one, clip=0.5)
        tensor(0.5000)

    References:
        PPO: https://arxiv.org/abs/1707.06347
    """
    check_shapes(values=values, old_values=old_values, returns=returns, completion_mask=completion_mask)
    mask = completion_mask != 0
    # Differences from the old value instead of the values themselves: two masked subtractions keep NaN out.
    moved = masked_difference(values, old_values.detach(), mask)
    target = masked_difference(returns.detach(), old_values.detach(), mask)
    errors = (moved - target).square()
    if clip is not None:
        check_not_negative("clip", clip)
        errors = torch.maximum(errors, (moved.clamp(-clip, clip) - target).square())
    return aggregate_tokens(errors / 2, mask, "token_mean", denominator)
