"""CISPO: clipped importance weights that carry no gradient."""

from __future__ import annotations

from torch import Tensor

from ngrpo.choices import Aggregate
from ngrpo.losses.clipped import PolicyLoss, TokenLosses
from ngrpo.losses.masked_tokens import checked_tokens


def cispo_policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    completion_mask: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    aggregate: Aggregate = "token_mean",
    denominator: float | None = None,
) -> PolicyLoss:
    """Returns CISPO's loss: REINFORCE weighted by the ratio, and only the weight is clipped.

        weight = clamp(exp(logprobs - old_logprobs), 1 - clip_low, 1 + clip_high), held constant
        token loss = -A weight (logprobs - old_logprobs)

    Every token keeps a gradient, -A weight times that of its logprob: a clip bounds it and never takes it
    away. The bounds bind whatever the sign of A; `clip_low = 1` is no lower bound, as in the paper. Only the
    gradient of this loss means something, not its value: the paper has logprobs where the difference stands,
    which gives the same gradient. Log ratios are clamped to +-20, beyond which the gradient is 0. Without
    any completion token the loss and the fractions are 0.

    Args:
        logprobs: [B, T] of the current policy, in nats; the only argument that gets a gradient.
        old_logprobs: [B, T] of the policy before the updates of this step.
        advantages: [B], or [B, T] for one per token.
        completion_mask: [B, T], nonzero on tokens that the model wrote.
        clip_low: at least 0; 1 for no lower bound.
        clip_high: at least 0.
        aggregate: see `aggregate_tokens`; the paper's is `token_mean`.
        denominator: see `aggregate_tokens`.

    Returns:
        The loss, and what was clipped: shares of tokens with a nonzero advantage and a ratio out of bounds.

    Raises:
        ConfigError: for shapes that do not fit, a negative clip, an unknown aggregate, a denominator not
            above 0.

    Examples:
        >>> import torch
        >>> new = torch.tensor([[-1.0]], requires_grad=True)
        >>> out = cispo_policy_loss(
        ...     new, torch.tensor([[-3.0]]), torch.tensor([1.0]), torch.ones(1, 1), clip_low=1.0, clip_high=5.0
        ... )
        >>> torch.autograd.grad(out.loss, new)  # the weight is 6, not exp(2) = 7.4
        (tensor([[-6.]]),)

    References:
        MiniMax-M1: https://arxiv.org/abs/2506.13585
    """
    losses = cispo_token_losses(
        logprobs, old_logprobs, advantages, completion_mask, clip_low=clip_low, clip_high=clip_high
    )
    return losses.aggregated(completion_mask, aggregate, denominator)


def cispo_token_losses(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    completion_mask: Tensor,
    *,
    clip_low: float,
    clip_high: float,
) -> TokenLosses:
    """Returns what `cispo_policy_loss` aggregates; arguments and errors as there."""
    _, weights, log_ratio = checked_tokens(
        logprobs, old_logprobs, advantages, completion_mask, clip_low=clip_low, clip_high=clip_high
    )
    ratio = log_ratio.detach().exp()
    clamped = ratio.clamp(1 - clip_low, 1 + clip_high)
    token_losses = -weights * clamped * log_ratio
    low = (weights != 0) & (ratio < 1 - clip_low)
    high = (weights != 0) & (ratio > 1 + clip_high)
    return TokenLosses(token_losses, low, high, log_ratio.detach())
