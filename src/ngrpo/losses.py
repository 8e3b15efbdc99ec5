"""The clipped policy loss, KL estimators, the value loss, and the one way that token values become a loss.

All work on [B, T] tensors with a `completion_mask` that is nonzero on the tokens the model wrote. What
other tokens hold changes nothing, not even NaN, their gradient is exactly 0. Half precision is raised
to float32.

A loss over micro-batches equals the loss over the whole update when each micro-batch is given the
denominator of the whole (`loss_denominator` of all sequences of the update) and their losses are summed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ngrpo.errors import ConfigError

Aggregate = Literal["token_mean", "sequence_mean", "constant"]
"""What token values are averaged over: all tokens, sequences after their tokens, a constant (Dr.GRPO)."""

KLEstimator = Literal["k1", "k2", "k3"]

MAX_LOG_RATIO = 20.0
"""Log ratios are clamped to this many nats before the exponential (as in verl); beyond, the gradient is 0."""


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

    Example:
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
    mask, weights, log_ratio = _checked_tokens(
        logprobs, old_logprobs, advantages, completion_mask, clip_low=clip_low, clip_high=clip_high
    )
    ratio = log_ratio.exp()
    clamped = ratio.clamp(1 - clip_low, 1 + clip_high)
    token_losses = torch.maximum(-weights * ratio, -weights * clamped)
    low = (weights < 0) & (ratio < 1 - clip_low)
    high = (weights > 0) & (ratio > 1 + clip_high)
    return PolicyLoss(aggregate_tokens(token_losses, mask, aggregate, denominator), *_facts(low, high, log_ratio, mask))


def kl_divergence(
    logprobs: Tensor,
    ref_logprobs: Tensor,
    *,
    estimator: KLEstimator,
    completion_mask: Tensor | None = None,
) -> Tensor:
    """Returns [B, T] estimates of KL(policy || reference) at the sampled tokens.

        d = ref_logprobs - logprobs
        k1 = -d        k2 = d^2 / 2        k3 = exp(d) - d - 1

    All are 0 where the two agree. k1 and k3 are unbiased, k2 and k3 never negative. As a loss, k1 has an
    expected gradient of 0: it belongs in the reward. d is clamped to +-20 in k3.

    Args:
        logprobs: [B, T] of the current policy, in nats; the only argument that gets a gradient.
        ref_logprobs: [B, T] of the reference model.
        estimator: `k1`, `k2` or `k3`.
        completion_mask: [B, T], nonzero on tokens that the model wrote; the others give 0. All when None.

    Returns:
        [B, T] in nats, for `aggregate_tokens`.

    Raises:
        ConfigError: for shapes that do not fit or an unknown estimator.

    Example:
        >>> kl_divergence(torch.tensor([[-1.0]]), torch.tensor([[-2.0]]), estimator="k3")
        tensor([[0.3679]])

    References:
        Schulman, Approximating KL Divergence: http://joschu.net/blog/kl-approx.html
    """
    mask = torch.ones_like(logprobs, dtype=torch.bool) if completion_mask is None else completion_mask != 0
    _check_shapes(logprobs=logprobs, ref_logprobs=ref_logprobs, completion_mask=mask)
    difference = _difference(ref_logprobs.detach(), logprobs, mask)
    if estimator == "k1":
        return -difference
    if estimator == "k2":
        return difference.square() / 2
    if estimator == "k3":
        bounded = difference.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        return bounded.exp() - bounded - 1
    raise ConfigError(f"estimator is {estimator!r}; allowed are 'k1', 'k2' and 'k3'")


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

    Example:
        >>> one = torch.ones(1, 1)
        >>> value_loss(3 * one, one, 2 * one, one, clip=0.5)
        tensor(0.5000)

    References:
        PPO: https://arxiv.org/abs/1707.06347
    """
    _check_shapes(values=values, old_values=old_values, returns=returns, completion_mask=completion_mask)
    mask = completion_mask != 0
    # Differences from the old value instead of the values themselves: two masked subtractions keep NaN out.
    moved = _difference(values, old_values.detach(), mask)
    target = _difference(returns.detach(), old_values.detach(), mask)
    errors = (moved - target).square()
    if clip is not None:
        _check_not_negative("clip", clip)
        errors = torch.maximum(errors, (moved.clamp(-clip, clip) - target).square())
    return aggregate_tokens(errors / 2, mask, "token_mean", denominator)


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
    _check_shapes(values=values, completion_mask=completion_mask)
    _check_aggregate(aggregate)
    mask = completion_mask != 0
    if denominator is None:
        denominator = max(loss_denominator(mask, aggregate), 1)
    if not (math.isfinite(denominator) and denominator > 0):
        raise ConfigError(f"denominator is {denominator}; allowed are finite numbers above 0")
    kept = torch.where(mask, _at_least_float32(values), 0.0)
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
    _check_aggregate(aggregate)
    if aggregate == "constant":
        raise ConfigError("aggregate 'constant' needs a denominator, such as sequences * longest completion")
    mask = completion_mask != 0
    return int(mask.sum() if aggregate == "token_mean" else mask.any(dim=1).sum())


def _checked_tokens(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    completion_mask: Tensor,
    *,
    clip_low: float,
    clip_high: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the mask, the advantages and the log ratios, all [B, T]; the latter two are 0 outside the mask."""
    _check_shapes(logprobs=logprobs, old_logprobs=old_logprobs, completion_mask=completion_mask)
    _check_not_negative("clip_low", clip_low)
    _check_not_negative("clip_high", clip_high)
    mask = completion_mask != 0
    return mask, _per_token(advantages, mask), _log_ratio(logprobs, old_logprobs, mask)


@torch.no_grad()
def _facts(low: Tensor, high: Tensor, log_ratio: Tensor, mask: Tensor) -> list[Tensor]:
    """Returns the clip fractions and the approximate KL of `PolicyLoss`."""
    tokens = max(loss_denominator(mask, "token_mean"), 1)
    return [aggregate_tokens(fact, mask, "token_mean", tokens) for fact in (low, high, -log_ratio)]


def _log_ratio(logprobs: Tensor, old_logprobs: Tensor, mask: Tensor) -> Tensor:
    return _difference(logprobs, old_logprobs.detach(), mask).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


def _difference(left: Tensor, right: Tensor, mask: Tensor) -> Tensor:
    """Returns left - right in at least float32, and 0 without gradient outside the mask."""
    return torch.where(mask, _at_least_float32(left) - _at_least_float32(right), 0.0)


def _per_token(advantages: Tensor, mask: Tensor) -> Tensor:
    """Returns the advantages as [B, T], 0 outside the mask."""
    advantages = _at_least_float32(advantages.detach())
    if advantages.shape == mask.shape[:1]:
        advantages = advantages[:, None].expand(mask.shape)
    if advantages.shape != mask.shape:
        raise ConfigError(
            f"advantages have shape {list(advantages.shape)}; allowed are {list(mask.shape[:1])} and {list(mask.shape)}"
        )
    return torch.where(mask, advantages, 0.0)


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _check_shapes(**tensors: Tensor) -> None:
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    first = next(iter(shapes.values()))
    if len(first) != 2 or any(shape != first for shape in shapes.values()):
        given = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ConfigError(f"the shapes are {given}; allowed is one shape [B, T] for all")


def _check_aggregate(aggregate: str) -> None:
    if aggregate not in get_args(Aggregate):
        raise ConfigError(f"aggregate is {aggregate!r}; allowed are {', '.join(map(repr, get_args(Aggregate)))}")


def _check_not_negative(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"{name} is {value}; allowed are finite numbers of at least 0")
