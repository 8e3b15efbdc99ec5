"""One pure function per estimator: the rewards of groups [P, G] become one advantage per completion [P, G].

All of them share four promises. `valid` marks the completions that could be graded: the others leave the
statistics and get exactly 0. The statistics are taken in float64 on the CPU, so that every device gives the
same bits. The result has the dtype and device of `rewards` (float32 for integers) and no gradient. Any
finite reward gives a finite advantage: what the dtype cannot hold is clamped to its largest number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ngrpo.errors import ConfigError
from ngrpo.filters import comparable_reward, graded_rewards

Deviation = Literal["sample", "population"]
"""Standard deviation with n - 1 or with n in its denominator."""

Calibration = Literal["all", "all_wrong"]
"""Which groups get the virtual completions."""


def ngrpo_advantages(
    rewards: Tensor,
    *,
    max_reward: float = 1.0,
    num_virtual: int = 1,
    std: Deviation = "sample",
    eps: float = 1e-6,
    calibrate: Calibration = "all",
    valid: Tensor | None = None,
) -> Tensor:
    """Returns NGRPO's calibrated advantages: z-scores in a group joined by virtual correct completions.

        R' = rewards of the group + [max_reward] * num_virtual
        A_i = (r_i - mean(R')) / (std(R') + eps)        for the G real completions

    An all-wrong group of equal rewards gets the same negative number everywhere, with one virtual
    completion -1 / sqrt(G + 1); an all-correct group gets exactly 0. Real and virtual advantages sum to 0,
    so the real ones alone sum to at most 0. With `num_virtual=0` this is `grpo_advantages` to the bit. A
    group of one works like any other (the reference code skips its virtual completion).

    Args:
        rewards: [P, G], at most `max_reward`.
        max_reward: reward of a virtual completion, the best that a completion can get.
        num_virtual: virtual completions per group, at least 0; the paper has 1.
        std: `sample` (n - 1), as in the reference code, or `population` (n), as in the paper's Eq. 6.
        eps: added to the deviation, at least 0.
        calibrate: `all` groups get virtual completions, or only the `all_wrong` ones, in which no valid
            reward reaches `max_reward`.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Returns:
        [P, G] advantages.

    Raises:
        ConfigError: for arguments out of range, a valid reward that is not finite or above `max_reward`.

    Example:
        >>> ngrpo_advantages(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]]))
        tensor([[-0.5000, -0.5000, -0.5000],
                [-0.8660, -0.8660,  0.8660],
                [ 0.0000,  0.0000,  0.0000]])

    References:
        NGRPO: https://arxiv.org/abs/2509.18851
    """
    if isinstance(num_virtual, bool) or not isinstance(num_virtual, int) or num_virtual < 0:
        raise ConfigError(f"num_virtual is {num_virtual!r}; allowed is an integer of at least 0")
    if calibrate not in ("all", "all_wrong"):
        raise ConfigError(f"calibrate is {calibrate!r}; allowed are 'all' and 'all_wrong'")
    values, graded = graded_rewards(rewards, valid)
    best = comparable_reward(max_reward, rewards)
    if num_virtual > 0 and bool((graded & (values > best)).any()):
        worst = values[graded].max().item()
        raise ConfigError(f"max_reward is {max_reward} but a reward is {worst}; allowed are rewards up to max_reward")
    added = torch.full((len(values), 1), num_virtual, dtype=torch.float64)
    if calibrate == "all_wrong":
        added[(graded & (values >= best)).any(dim=1)] = 0
    return _like(rewards, _z_scores(_centred(values, graded, added, best), std, eps))


def grpo_advantages(
    rewards: Tensor, *, std: Deviation = "sample", eps: float = 1e-6, valid: Tensor | None = None
) -> Tensor:
    """Returns GRPO's advantages, the z-scores of the group's rewards.

        A_i = (r_i - mean(R)) / (std(R) + eps)

    Groups of equal rewards, all-wrong and all-correct ones among them, get exactly 0, and so does a group
    with fewer than two valid completions: one reward compares with nothing.

    Args:
        rewards: [P, G].
        std: `sample` (n - 1) or `population` (n).
        eps: added to the deviation, at least 0.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Returns:
        [P, G] advantages.

    Raises:
        ConfigError: for arguments out of range or a valid reward that is not finite.

    Example:
        >>> grpo_advantages(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
        tensor([[-0.5773, -0.5773,  1.1547],
                [ 0.0000,  0.0000,  0.0000]])

    References:
        DeepSeekMath: https://arxiv.org/abs/2402.03300
    """
    values, graded = graded_rewards(rewards, valid)
    return _like(rewards, _z_scores(_centred(values, graded), std, eps))


def dr_grpo_advantages(rewards: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Returns Dr.GRPO's advantages, A_i = r_i - mean(R), without the division by the deviation.

    Groups of equal rewards get exactly 0. Its loss goes with the aggregate `constant`.

    Args:
        rewards: [P, G].
        valid: [P, G] bool, true for completions that were graded; all when None.

    Returns:
        [P, G] advantages.

    Raises:
        ConfigError: for wrong shapes or a valid reward that is not finite.

    Example:
        >>> dr_grpo_advantages(torch.tensor([[0.0, 0.0, 0.0, 1.0]]))
        tensor([[-0.2500, -0.2500, -0.2500,  0.7500]])

    References:
        Understanding R1-Zero-Like Training: https://arxiv.org/abs/2503.20783
    """
    values, graded = graded_rewards(rewards, valid)
    return _like(rewards, _centred(values, graded).in_reward_units())


def rloo_advantages(rewards: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Returns leave-one-out advantages: each reward minus the mean of the others of its group.

        A_i = r_i - mean(R without r_i) = G / (G - 1) * (r_i - mean(R))

    Groups of equal rewards and groups with fewer than two valid completions get exactly 0.

    Args:
        rewards: [P, G].
        valid: [P, G] bool, true for completions that were graded; all when None.

    Returns:
        [P, G] advantages.

    Raises:
        ConfigError: for wrong shapes or a valid reward that is not finite.

    Example:
        >>> rloo_advantages(torch.tensor([[0.0, 0.0, 1.0]]))
        tensor([[-0.5000, -0.5000,  1.0000]])

    References:
        Back to Basics: https://arxiv.org/abs/2402.14740
    """
    values, graded = graded_rewards(rewards, valid)
    group = _centred(values, graded)
    return _like(rewards, group.in_reward_units() * (group.count / (group.count - 1).clamp(min=1)))


def psr_advantages(rewards: Tensor, *, max_reward: float = 1.0, valid: Tensor | None = None) -> Tensor:
    """Returns positive sample reinforcement: 1 for a correct completion, 0 for a wrong one.

    Args:
        rewards: [P, G].
        max_reward: the reward from which on a completion is correct.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Returns:
        [P, G] advantages.

    Raises:
        ConfigError: for wrong shapes or a valid reward that is not finite.

    Example:
        >>> psr_advantages(torch.tensor([[0.0, 0.5, 1.0]]))
        tensor([[0., 0., 1.]])

    References:
        The Surprising Effectiveness of Negative Reinforcement: https://arxiv.org/abs/2506.01347
    """
    return w_reinforce_advantages(rewards, positive_weight=1.0, negative_weight=0.0, max_reward=max_reward, valid=valid)


def nsr_advantages(rewards: Tensor, *, max_reward: float = 1.0, valid: Tensor | None = None) -> Tensor:
    """Returns negative sample reinforcement: 0 for a correct completion, -1 for a wrong one.

    Args:
        rewards: [P, G].
        max_reward: the reward from which on a completion is correct.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Returns:
        [P, G] advantages.

    Raises:
        ConfigError: for wrong shapes or a valid reward that is not finite.

    Example:
        >>> nsr_advantages(torch.tensor([[0.0, 0.5, 1.0]]))
        tensor([[-1., -1.,  0.]])

    References:
        The Surprising Effectiveness of Negative Reinforcement: https://arxiv.org/abs/2506.01347
    """
    return w_reinforce_advantages(rewards, positive_weight=0.0, negative_weight=1.0, max_reward=max_reward, valid=valid)


def w_reinforce_advantages(
    rewards: Tensor,
    *,
    positive_weight: float = 0.1,
    negative_weight: float = 1.0,
    max_reward: float = 1.0,
    valid: Tensor | None = None,
) -> Tensor:
    """Returns W-REINFORCE (PSR-NSR): one fixed number for correct completions, one for wrong ones.

    A = positive_weight where the reward reaches `max_reward`, else -negative_weight. Nothing is normalised:
    every kind of group counts alike, and a partial reward counts as wrong.

    Args:
        rewards: [P, G].
        positive_weight: at least 0; the paper has 0.1.
        negative_weight: at least 0; the paper has 1.
        max_reward: the reward from which on a completion is correct.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Returns:
        [P, G] advantages.

    Raises:
        ConfigError: for arguments out of range or a valid reward that is not finite.

    Example:
        >>> w_reinforce_advantages(torch.tensor([[0.0, 0.5, 1.0]]))
        tensor([[-1.0000, -1.0000,  0.1000]])

    References:
        The Surprising Effectiveness of Negative Reinforcement: https://arxiv.org/abs/2506.01347
    """
    for name, weight in (("positive_weight", positive_weight), ("negative_weight", negative_weight)):
        _check_not_negative(name, weight)
    values, graded = graded_rewards(rewards, valid)
    # 0 - weight and not -weight: a weight of 0 shall give 0, not -0.
    weights = torch.where(values >= comparable_reward(max_reward, rewards), positive_weight, 0.0 - negative_weight)
    return _like(rewards, weights.double().masked_fill(~graded, 0.0))


def constant_advantages(
    rewards: Tensor,
    *,
    max_reward: float = 1.0,
    std: Deviation = "sample",
    eps: float = 1e-6,
    valid: Tensor | None = None,
) -> Tensor:
    """Returns GRPO's advantages, but -1 / sqrt(G + 1) in all-wrong groups, where G counts valid completions.

    That constant is what NGRPO gives an all-wrong group of equal rewards, so this is the control that shows
    what calibrating the *other* groups adds. Partial rewards in an all-wrong group are not told apart.

    Args:
        rewards: [P, G].
        max_reward: the reward from which on a completion is correct.
        std: `sample` (n - 1) or `population` (n), for the groups that are not all-wrong.
        eps: added to the deviation, at least 0.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Returns:
        [P, G] advantages.

    Raises:
        ConfigError: for arguments out of range or a valid reward that is not finite.

    Example:
        >>> constant_advantages(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
        tensor([[-0.5000, -0.5000, -0.5000],
                [-0.5773, -0.5773,  1.1547]])

    References:
        NGRPO, of whose calibration it is the control: https://arxiv.org/abs/2509.18851
    """
    values, graded = graded_rewards(rewards, valid)
    group = _centred(values, graded)
    correct = graded & (values >= comparable_reward(max_reward, rewards))
    some_correct = correct.any(dim=1, keepdim=True)
    constant = -(group.count + 1).rsqrt()
    advantages = torch.where(some_correct, _z_scores(group, std, eps), constant)
    return _like(rewards, advantages.masked_fill(~graded, 0.0))


@dataclass(frozen=True, slots=True)
class _CentredGroups:
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


def _centred(values: Tensor, graded: Tensor, added: Tensor | None = None, best: float | Tensor = 0.0) -> _CentredGroups:
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
    return _CentredGroups(torch.where(graded, scaled - mean, 0.0), -mean, scale, count, added)


def _z_scores(group: _CentredGroups, std: Deviation, eps: float) -> Tensor:
    if std not in ("sample", "population"):
        raise ConfigError(f"std is {std!r}; allowed are 'sample' and 'population'")
    _check_not_negative("eps", eps)
    squares = group.deviation.square().sum(dim=1, keepdim=True) + group.added * group.virtual_deviation.square()
    freedom = group.count - 1 if std == "sample" else group.count
    denominator = (squares / freedom.clamp(min=1)).sqrt() + eps / group.scale / 2
    # Only with eps = 0 can the denominator be 0, in groups of equal rewards.
    return torch.where(denominator > 0, group.deviation / denominator, 0.0)


def _like(rewards: Tensor, advantages: Tensor) -> Tensor:
    dtype = rewards.dtype if rewards.dtype.is_floating_point else torch.float32
    limits = torch.finfo(dtype)
    return advantages.clamp(limits.min, limits.max).to(dtype).to(rewards.device)


def _check_not_negative(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"{name} is {value}; allowed are finite numbers of at least 0")
