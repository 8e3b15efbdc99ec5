"""Groups of rewards around their means in float64: what every estimator is computed from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ngrpo.argument_checks import check_not_negative
from ngrpo.choices import Deviation
from ngrpo.errors import ConfigError


@dataclass(frozen=True, slots=True)
class CentredGroups:
    """Groups around their means, divided by `scale` so that no square overflows.

    `deviation` [P, G] is 0 where not valid; `virtual_deviation`, `scale`, `count` (with the `added` virtual
    completions) and `added` are [P, 1]. In reward units everything is 2 * scale times as large.
    """

    deviation: Tensor
    virtual_deviation: Tensor
    scale: Tensor
    count: Tensor
    added: Tensor

    def in_reward_units(self) -> Tensor:
        return self.deviation * self.scale * 2


def centred_groups(
    values: Tensor, graded: Tensor, added: Tensor | None = None, best: float | Tensor = 0.0
) -> CentredGroups:
    """Returns the groups around their means, each joined by `added` [P, 1] completions of reward `best` (or [P, 1])."""
    added = torch.zeros(len(values), 1, dtype=torch.float64) if added is None else added
    # Averaged are distances from the group's largest reward: the mean of n equal floats need not be that
    # float, but the mean of n zeros is 0. They are halved since the difference of two finite floats can
    # overflow.
    largest = values.masked_fill(~graded, -math.inf).amax(dim=1, keepdim=True)
    origin = torch.where(added > 0, best, largest)
    halves = torch.where(graded, values / 2 - origin / 2, 0.0)
    scale = halves.abs().amax(dim=1, keepdim=True)
    scale = torch.where(scale > 0, scale, 1.0)
    count = graded.sum(dim=1, keepdim=True) + added
    scaled = halves / scale
    mean = scaled.sum(dim=1, keepdim=True) / count.clamp(min=1)
    return CentredGroups(torch.where(graded, scaled - mean, 0.0), -mean, scale, count, added)


def z_scores(group: CentredGroups, std: Deviation, eps: float) -> Tensor:
    if std not in ("sample", "population"):
        raise ConfigError(f"std is {std!r}; allowed are 'sample' and 'population'")
    check_not_negative("eps", eps)
    squares = group.deviation.square().sum(dim=1, keepdim=True) + group.added * group.virtual_deviation.square()
    freedom = group.count - 1 if std == "sample" else group.count
    denominator = (squares / freedom.clamp(min=1)).sqrt() + eps / group.scale / 2
    # Only with eps = 0 can the denominator be 0, in groups of equal rewards.
    return torch.where(denominator > 0, group.deviation / denominator, 0.0)


def like_rewards(rewards: Tensor, advantages: Tensor) -> Tensor:
    dtype = rewards.dtype if rewards.dtype.is_floating_point else torch.float32
    limits = torch.finfo(dtype)
    return advantages.clamp(limits.min, limits.max).to(dtype).to(rewards.device)


def in_reward_units(group: CentredGroups) -> Tensor:
    """Returns the distances from the mean, bounded so that a sum with another finite number is never NaN."""
    limits = torch.finfo(torch.float64)
    return group.in_reward_units().clamp(limits.min, limits.max)


def group_means(values: Tensor, graded: Tensor, group: CentredGroups) -> Tensor:
    """Returns the mean [P, 1] of the valid rewards, exactly r where all are r, and 0 where none is valid."""
    largest = values.masked_fill(~graded, -math.inf).amax(dim=1, keepdim=True)
    above_mean = in_reward_units(group).masked_fill(~graded, 0.0).amax(dim=1, keepdim=True)
    return torch.where(group.count > 0, largest - above_mean, 0.0)
