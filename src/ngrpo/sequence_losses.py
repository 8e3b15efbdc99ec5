"""GSPO and CISPO, policy losses that may stand where `clipped_policy_loss` does.

They take the same arguments, follow the same promises (see `ngrpo.losses`) and return the same `PolicyLoss`. What
differs is the ratio that is clipped, and what a clip does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ngrpo.losses import Aggregate, PolicyLoss, _checked_tokens, _facts, aggregate_tokens


def gspo_policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    completion_mask: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    aggregate: Aggregate = "sequence_mean",
    denominator: float | None = None,
) -> PolicyLoss:
    """Returns GSPO's loss: PPO's clipped surrogate with one ratio for a whole completion.

        s_i = exp(mean over the tokens of i of (logprobs - old_logprobs))
        token loss = max(-A s, -A clamp(s, 1 - clip_low, 1 + clip_high))

    A completion is clipped as a whole, and then its gradient is exactly 0 (lower bound where A < 0, upper
    where A > 0). Since s is a geometric mean it moves far less than a token's ratio: the paper's bounds are
    3e-4 and 4e-4. Each token's part of the gradient is -A s times that of its logprob (the paper's
    GSPO-token, which equals GSPO when a completion has one advantage), so advantages may differ within a
    completion. Token log ratios are clamped to +-20. Without any completion token the loss and the fractions
    are 0. The loss of a completion needs all of its tokens in one batch.

    Args:
        logprobs: [B, T] of the current policy, in nats; the only argument that gets a gradient.
        old_logprobs: [B, T] of the policy before the updates of this step.
        advantages: [B], or [B, T] for one per token.
        completion_mask: [B, T], nonzero on tokens that the model wrote.
        clip_low: at least 0; GSPO has 3e-4.
        clip_high: at least 0; GSPO has 4e-4.
        aggregate: see `aggregate_tokens`; the paper's is `sequence_mean`.
        denominator: see `aggregate_tokens`.

    Returns:
        The loss, and what was clipped: the shares of tokens in completions at which a bound binds.

    Raises:
        ConfigError: for shapes that do not fit, a negative clip, an unknown aggregate, a denominator not
            above 0.

    Example:
        >>> old, new = torch.zeros(1, 2), torch.tensor([[0.5, -0.1]])  # s = exp(0.2) = 1.2214
        >>> gspo_policy_loss(new, old, torch.tensor([1.0]), torch.ones(1, 2), clip_low=0.1, clip_high=0.3).loss
        tensor(-1.2214)

    References:
        GSPO: https://arxiv.org/abs/2507.18071
    """
    mask, weights, log_ratio = _checked_tokens(
        logprobs, old_logprobs, advantages, completion_mask, clip_low=clip_low, clip_high=clip_high
    )
    lengths = mask.sum(dim=1, keepdim=True).clamp(min=1)
    of_sequence = log_ratio.detach().sum(dim=1, keepdim=True) / lengths
    # Adding zero with the gradient of the token gives each token the gradient s * grad logprob.
    ratio = (of_sequence + (log_ratio - log_ratio.detach())).exp()
    clamped = ratio.clamp(1 - clip_low, 1 + clip_high)
    token_losses = torch.maximum(-weights * ratio, -weights * clamped)
    low = (weights < 0) & (ratio < 1 - clip_low)
    high = (weights > 0) & (ratio > 1 + clip_high)
    return PolicyLoss(aggregate_tokens(token_losses, mask, aggregate, denominator), *_facts(low, high, log_ratio, mask))


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

    Example:
        >>> new = torch.tensor([[-1.0]], requires_grad=True)
        >>> out = cispo_policy_loss(
        ...     new, torch.tensor([[-3.0]]), torch.tensor([1.0]), torch.ones(1, 1), clip_low=1.0, clip_high=5.0
        ... )
        >>> torch.autograd.grad(out.loss, new)  # the weight is 6, not exp(2) = 7.4
        (tensor([[-6.]]),)

    References:
        MiniMax-M1: https://arxiv.org/abs/2506.13585
    """
    mask, weights, log_ratio = _checked_tokens(
        logprobs, old_logprobs, advantages, completion_mask, clip_low=clip_low, clip_high=clip_high
    )
    ratio = log_ratio.detach().exp()
    clamped = ratio.clamp(1 - clip_low, 1 + clip_high)
    token_losses = -weights * clamped * log_ratio
    low = (weights != 0) & (ratio < 1 - clip_low)
    high = (weights != 0) & (ratio > 1 + clip_high)
    return PolicyLoss(aggregate_tokens(token_losses, mask, aggregate, denominator), *_facts(low, high, log_ratio, mask))
