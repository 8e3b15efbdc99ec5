"""Token-level generalised advantage estimation (GAE), the estimator of PPO."""

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

    Example:
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
