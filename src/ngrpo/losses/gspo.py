"""GSPO: the clipped policy loss of sequence ratios."""

from __future__ import annotations

from torch import Tensor

from ngrpo.choices import Aggregate
from ngrpo.losses.clipped import PolicyLoss, TokenLosses, surrogate
from ngrpo.losses.masked_tokens import checked_tokens


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

    Examples:
        >>> import torch
        >>> old, new = torch.zeros(1, 2), torch.tensor([[0.5, -0.1]])  # s = exp(0.2) = 1.2214
        >>> gspo_policy_loss(new, old, torch.tensor([1.0]), torch.ones(1, 2), clip_low=0.1, clip_high=0.3).loss
        tensor(-1.2214)

    References:
        GSPO: https://arxiv.org/abs/2507.18071
    """
    losses = gspo_token_losses(
        logprobs, old_logprobs, advantages, completion_mask, clip_low=clip_low, clip_high=clip_high
    )
    return losses.aggregated(completion_mask, aggregate, denominator)


def gspo_token_losses(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    completion_mask: Tensor,
    *,
    clip_low: float,
    clip_high: float,
) -> TokenLosses:
    """Returns what `gspo_policy_loss` aggregates; arguments and errors as there."""
    mask, weights, log_ratio = checked_tokens(
        logprobs, old_logprobs, advantages, completion_mask, clip_low=clip_low, clip_high=clip_high
    )
    lengths = mask.sum(dim=1, keepdim=True).clamp(min=1)
    of_sequence = log_ratio.detach().sum(dim=1, keepdim=True) / lengths
    # Adding zero with the gradient of the token gives each token the gradient s * grad logprob.
    ratio = (of_sequence + (log_ratio - log_ratio.detach())).exp()
    return surrogate(ratio, weights, log_ratio.detach(), clip_low=clip_low, clip_high=clip_high)
