"""PPO's clipped policy loss with a bound of its own on each side."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ngrpo.choices import Aggregate
from ngrpo.losses.masked_tokens import aggregate_tokens, checked_tokens, loss_denominator


@dataclass(frozen=True, slots=True, eq=False)
class PolicyLoss:
    """The loss to differentiate and three facts about the completion tokens of this batch, all [] tensors.

    `clip_low_fraction` is the share of tokens at which the lower bound binds (A < 0, ratio < 1 - clip_low),
    `clip_high_fraction` that of the upper one (A > 0, ratio > 1 + clip_high); `approx_kl` is the mean of
    old_logprobs - logprobs in nats. To join batches, weight them by their numbers of completion tokens.
    """

    loss: Tensor
    clip_low_fraction: Tensor
    clip_high_fraction: Tensor
    approx_kl: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class TokenLosses:
    """The loss of each token [B, T] before aggregation; where a bound binds, and log ratios, without gradient."""

    values: Tensor
    clip_low: Tensor
    clip_high: Tensor
    log_ratios: Tensor

    def aggregated(self, mask: Tensor, aggregate: Aggregate, denominator: float | None) -> PolicyLoss:
        """Returns the policy loss that these are of; arguments as in `aggregate_tokens`."""
        mask = mask != 0
        tokens = max(loss_denominator(mask, "token_mean"), 1)
        facts = self.clip_low, self.clip_high, -self.log_ratios
        return PolicyLoss(
            aggregate_tokens(self.values, mask, aggregate, denominator),
            *(aggregate_tokens(fact, mask, "token_mean", tokens) for fact in facts),
        )


def clipped_policy_loss(
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
    """Returns PPO's clipped surrogate with its own bound on each side.

        ratio = exp(logprobs - old_logprobs)
        token loss = max(-A ratio, -A clamp(ratio, 1 - clip_low, 1 + clip_high))

    The maximum is pessimistic: the lower bound binds only where A < 0, the upper only where A > 0, and
    there the gradient is exactly 0. The log ratio is clamped to +-20 so that the loss stays finite. Without
    any completion token the loss and the fractions are 0.

    Args:
        logprobs: [B, T] of the current policy, in nats; the only argument that gets a gradient.
        old_logprobs: [B, T] of the policy before the updates of this step.
        advantages: [B], or [B, T] for one per token.
        completion_mask: [B, T], nonzero on tokens that the model wrote.
        clip_low: at least 0; NGRPO has 0.16.
        clip_high: at least 0; NGRPO has 0.24.
        aggregate: see `aggregate_tokens`.
        denominator: see `aggregate_tokens`.

    Returns:
        The loss, and what was clipped.

    Raises:
        ConfigError: for shapes that do not fit, a negative clip, an unknown aggregate, a denominator not
            above 0.

    Examples:
        >>> old, new = torch.zeros(2, 1), torch.tensor([[0.5], [-0.5]])
        >>> out = clipped_policy_loss(
        ...     new, old, torch.tensor([1.0, -1.0]), torch.ones(2, 1), clip_low=0.16, clip_high=0.24
        ... )
        >>> out.loss, out.clip_high_fraction  # (-1.24 + 0.84) / 2
        (tensor(-0.2000), tensor(0.5000))

    References:
        PPO: https://arxiv.org/abs/1707.06347; bounds of their own: DAPO, https://arxiv.org/abs/2503.14476;
        NGRPO: https://arxiv.org/abs/2509.18851
    """
    losses = clipped_token_losses(
        logprobs, old_logprobs, advantages, completion_mask, clip_low=clip_low, clip_high=clip_high
    )
    return losses.aggregated(completion_mask, aggregate, denominator)


def clipped_token_losses(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    completion_mask: Tensor,
    *,
    clip_low: float,
    clip_high: float,
) -> TokenLosses:
    """Returns what `clipped_policy_loss` aggregates; arguments and errors as there."""
    _, weights, log_ratio = checked_tokens(
        logprobs, old_logprobs, advantages, completion_mask, clip_low=clip_low, clip_high=clip_high
    )
    return surrogate(log_ratio.exp(), weights, log_ratio.detach(), clip_low=clip_low, clip_high=clip_high)


def surrogate(ratio: Tensor, weights: Tensor, log_ratio: Tensor, *, clip_low: float, clip_high: float) -> TokenLosses:
    """Returns PPO's pessimistic loss of ratios with weights, all [B, T]."""
    clamped = ratio.clamp(1 - clip_low, 1 + clip_high)
    low = (weights < 0) & (ratio < 1 - clip_low)
    high = (weights > 0) & (ratio > 1 + clip_high)
    return TokenLosses(torch.maximum(-weights * ratio, -weights * clamped), low, high, log_ratio)
