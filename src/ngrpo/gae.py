"""Token-level generalised advantage estimation (GAE), the estimator of PPO, and the rewards that it reads."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ngrpo.errors import ConfigError

WHITENING_EPS = 1e-8
"""Added to the variance when whitening, as in the reference code."""


@dataclass(frozen=True, slots=True, eq=False)
class GAE:
    """Advantages for the policy and returns for the critic, both [B, T] and 0 outside the completions."""

    advantages: Tensor
    returns: Tensor


def gae_advantages(
    rewards: Tensor,
    values: Tensor,
    completion_mask: Tensor,
    *,
    gamma: float = 1.0,
    lam: float = 1.0,
    whiten: bool = True,
) -> GAE:
    """Returns PPO's advantage of every completion token and the return that its value should predict.

        delta_t = r_t + gamma V_{t+1} - V_t
        A_t = delta_t + gamma lam A_{t+1},        return_t = A_t + V_t

    where t + 1 is the next completion token of the sequence and V is 0 after the last one. The returns come
    from the advantages before whitening, which subtracts the mean over all completion tokens of the batch
    and divides by their standard deviation (n - 1). With fewer than two completion tokens whitening gives
    0. Tokens outside the completions take no part, whatever they hold (the reference code whitens them
    too).

    Args:
        rewards: [B, T] reward of each token; an outcome reward stands at the last token of the completion.
        values: [B, T] the critic's predictions.
        completion_mask: [B, T], nonzero on tokens that the model wrote.
        gamma: discount per token, in [0, 1].
        lam: decay of the trace, in [0, 1].
        whiten: whether the advantages are brought to mean 0 and deviation 1.

    Returns:
        Advantages and returns in float32, or float64 when the arguments are.

    Raises:
        ConfigError: for different shapes, or gamma or lam outside [0, 1].

    Examples:
        >>> gae = gae_advantages(torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2), torch.ones(1, 2), gamma=0.5)
        >>> gae.returns
        tensor([[0.5000, 1.0000]])

    References:
        GAE: https://arxiv.org/abs/1506.02438; PPO: https://arxiv.org/abs/1707.06347
    """
    _check_arguments(rewards, values, completion_mask, gamma, lam)
    mask = completion_mask.detach() != 0
    dtype = torch.promote_types(torch.promote_types(rewards.dtype, values.dtype), torch.float32)
    rewards = rewards.detach().to(dtype).masked_fill(~mask, 0.0)
    values = values.detach().to(dtype).masked_fill(~mask, 0.0)
    advantages = torch.zeros_like(values)
    next_advantage = next_value = values.new_zeros(len(values))
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        # A masked token hands on what it received, so that a gap inside a completion does not cut its trace.
        next_advantage = torch.where(mask[:, t], delta + gamma * lam * next_advantage, next_advantage)
        next_value = torch.where(mask[:, t], values[:, t], next_value)
        advantages[:, t] = next_advantage
    advantages = advantages.masked_fill(~mask, 0.0)
    returns = advantages + values
    return GAE(_whitened(advantages, mask) if whiten else advantages, returns)


def token_rewards(
    rewards: Tensor,
    old_logprobs: Tensor,
    ref_logprobs: Tensor,
    completion_mask: Tensor,
    *,
    kl_coefficient: float,
) -> Tensor:
    """Returns PPO's reward of every completion token: a KL penalty at each, the completion's reward at the last.

        r_t = -kl_coefficient (old_logprob_t - ref_logprob_t) + (reward where t is the last completion token)

    The difference is the k1 estimate of the KL to the reference. A completion without tokens has no reward.

    Args:
        rewards: [B] of the completions.
        old_logprobs: [B, T] of the policy that is about to be updated, in nats.
        ref_logprobs: [B, T] of the reference model.
        completion_mask: [B, T], nonzero on tokens that the model wrote; others get 0, whatever they hold.
        kl_coefficient: at least 0; the reference settings have 0.001.

    Returns:
        [B, T] in the dtype of `old_logprobs`, without gradient.

    Raises:
        ConfigError: for shapes that do not fit or a coefficient out of range.

    Examples:
        >>> old, ref, mask = torch.tensor([[-1.0, -1.0]]), torch.tensor([[-3.0, -1.0]]), torch.ones(1, 2)
        >>> token_rewards(torch.tensor([1.0]), old, ref, mask, kl_coefficient=0.1)
        tensor([[-0.2000,  1.0000]])

    References:
        RLHF's reward: https://arxiv.org/abs/2203.02155
    """
    shapes = [list(tensor.shape) for tensor in (old_logprobs, ref_logprobs, completion_mask)]
    if old_logprobs.ndim != 2 or not shapes[0] == shapes[1] == shapes[2] or shapes[0][:1] != list(rewards.shape):
        raise ConfigError(
            f"rewards, old_logprobs, ref_logprobs and completion_mask have shapes {list(rewards.shape)}, {shapes[0]}, "
            f"{shapes[1]} and {shapes[2]}; allowed are [B], and one shape [B, T] for the others"
        )
    if not (math.isfinite(kl_coefficient) and kl_coefficient >= 0):
        raise ConfigError(f"kl_coefficient is {kl_coefficient}; allowed are finite numbers of at least 0")
    mask = completion_mask.detach() != 0
    penalty = kl_coefficient * (old_logprobs.detach() - ref_logprobs.detach())
    last = mask & (mask.flip(1).cumsum(dim=1).flip(1) == 1)
    outcome = torch.where(last, rewards.detach().to(penalty.dtype)[:, None], 0.0)
    return outcome - penalty.masked_fill(~mask, 0.0)


def explained_variance(returns: Tensor, values: Tensor) -> float:
    """Returns the share of the returns' variance that the values predict, 1 - Var(R - V) / Var(R).

    1 is perfect, 0 as good as any constant, below 0 worse. Where the returns do not vary it is 0.

    Args:
        returns: [N] of the completion tokens.
        values: [N] of the critic.

    Raises:
        ConfigError: for different shapes.

    Examples:
        >>> explained_variance(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 1.0]))
        0.75
    """
    if returns.shape != values.shape:
        raise ConfigError(f"returns and values have shapes {list(returns.shape)} and {list(values.shape)}")
    returns, values = returns.detach().double(), values.detach().double()
    variance = returns.var(unbiased=False).item() if returns.numel() else 0.0
    return 1 - (returns - values).var(unbiased=False).item() / variance if variance > 0 else 0.0


def _whitened(advantages: Tensor, mask: Tensor) -> Tensor:
    if int(mask.sum()) < 2:
        return torch.zeros_like(advantages)
    variance, mean = torch.var_mean(advantages[mask])
    return ((advantages - mean) * (variance + WHITENING_EPS).rsqrt()).masked_fill(~mask, 0.0)


def _check_arguments(rewards: Tensor, values: Tensor, completion_mask: Tensor, gamma: float, lam: float) -> None:
    shapes = [list(tensor.shape) for tensor in (rewards, values, completion_mask)]
    if rewards.ndim != 2 or not shapes[0] == shapes[1] == shapes[2]:
        raise ConfigError(
            f"rewards, values and completion_mask have shapes {shapes[0]}, {shapes[1]} and {shapes[2]}; "
            "allowed is one shape [B, T] for all"
        )
    for name, value in (("gamma", gamma), ("lam", lam)):
        if not (math.isfinite(value) and 0 <= value <= 1):
            raise ConfigError(f"{name} is {value}; allowed are numbers from 0 to 1")
