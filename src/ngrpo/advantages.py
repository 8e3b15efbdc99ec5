"""One pure function per estimator: the rewards of groups [P, G] become one advantage per completion [P, G].

All of them share four promises. `valid` marks the completions that could be graded: the others leave the statistics
and get exactly 0. The statistics are taken in float64 on the CPU, so that every device gives the same bits, and the
result has the dtype and device of `rewards` (float32 for integers) and no gradient. Any finite reward gives a finite
advantage: what the dtype cannot hold is clamped to its largest value. A completion is correct when its reward reaches
`max_reward`, both in the dtype of `rewards`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ngrpo.errors import ConfigError

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
    """Returns NGRPO's calibrated advantages: z-scores in a group joined by virtual completions that are correct.

        R' = rewards of the group + [max_reward] * num_virtual
        A_i = (r_i - mean(R')) / (std(R') + eps)        for the G real completions

    An all-wrong group of equal rewards gets the same negative number everywhere, for binary rewards and one virtual
    completion -1 / sqrt(G + 1); an all-correct group gets exactly 0. Real and virtual advantages sum to 0, so the real
    ones alone sum to at most 0. With `num_virtual=0` this is `grpo_advantages` to the bit. A group of one works like
    any other (the reference code skips its virtual completion).

    Args:
        rewards: [P, G], at most `max_reward`.
        max_reward: reward of a virtual completion, the best that a completion can get.
        num_virtual: virtual completions per group, at least 0; the paper has 1.
        std: `sample` (n - 1), as in the reference code, or `population` (n), as in the paper's Eq. 6.
        eps: added to the deviation, at least 0.
        calibrate: `all`, or `all_wrong` for virtual completions only where no valid reward reaches `max_reward`.
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
    values, graded = _checked(rewards, valid)
    best = _in_dtype_of(rewards, max_reward)
    if num_virtual > 0 and bool((graded & (values > best)).any()):
        worst = values[graded].max().item()
        raise ConfigError(
            f"max_reward is {max_reward} but a reward is {worst}; allowed are rewards up to max_reward"
        )
    added = torch.full((len(values), 1), num_virtual, dtype=torch.float64)
    if calibrate == "all_wrong":
        added[(graded & (values >= best)).any(dim=1)] = 0
    return _like(rewards, _z_scores(_centred(values, graded, added, best), std, eps))


def grpo_advantages(
    rewards: Tensor, *, std: Deviation = "sample", eps: float = 1e-6, valid: Tensor | None = None
) -> Tensor:
    """Returns GRPO's advantages, the z-scores of the group's rewards.

        A_i = (r_i - mean(R)) / (std(R) + eps)

    Groups of equal rewards, all-wrong and all-correct ones among them, get exactly 0, and so does a group with fewer
    than two valid completions: one reward compares with nothing.

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
        tensor([[-0.5774, -0.5774,  1.1547],
                [ 0.0000,  0.0000,  0.0000]])

    References:
        DeepSeekMath: https://arxiv.org/abs/2402.03300
    """
    values, graded = _checked(rewards, valid)
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
    values, graded = _checked(rewards, valid)
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
    values, graded = _checked(rewards, valid)
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
    return w_reinforce_advantages(
        rewards, positive_weight=1.0, negative_weight=0.0, max_reward=max_reward, valid=valid
    )


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
    return w_reinforce_advantages(
        rewards, positive_weight=0.0, negative_weight=1.0, max_reward=max_reward, valid=valid
    )


def w_reinforce_advantages(
    rewards: Tensor,
    *,
    positive_weight: float = 0.1,
    negative_weight: float = 1.0,
    max_reward: float = 1.0,
    valid: Tensor | None = None,
) -> Tensor:
    """Returns W-REINFORCE (PSR-NSR): `positive_weight` for a correct completion, -`negative_weight` for a wrong one.

    Nothing is normalised: every kind of group counts alike, and a partial reward counts as wrong.

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
    values, graded = _checked(rewards, valid)
    # 0 - weight and not -weight: a weight of 0 shall give 0, not -0.
    weights = torch.where(values >= _in_dtype_of(rewards, max_reward), positive_weight, 0.0 - negative_weight)
    return _like(rewards, weights.double().masked_fill(~graded, 0.0))


def constant_advantages(
    rewards: Tensor,
    *,
    max_reward: float = 1.0,
    std: Deviation = "sample",
    eps: float = 1e-6,
    valid: Tensor | None = None,
) -> Tensor:
    """Returns GRPO's advantages, but -1 / sqrt(G + 1) everywhere in all-wrong groups (G counts valid completions).

    That constant is what NGRPO gives an all-wrong group of binary rewards, so this is the control which shows what
    calibrating the *other* groups adds. Partial rewards in an all-wrong group are not told apart.

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
                [-0.5774, -0.5774,  1.1547]])

    References:
        NGRPO, of whose calibration it is the control: https://arxiv.org/abs/2509.18851
    """
    values, graded = _checked(rewards, valid)
    group = _centred(values, graded)
    some_correct = (graded & (values >= _in_dtype_of(rewards, max_reward))).any(dim=1, keepdim=True)
    constant = -(group.count + 1).rsqrt()
    advantages = torch.where(some_correct, _z_scores(group, std, eps), constant)
    return _like(rewards, advantages.masked_fill(~graded, 0.0))


def correct_completions(rewards: Tensor, *, max_reward: float = 1.0, valid: Tensor | None = None) -> Tensor:
    """Returns [P, G] bool: true for the valid completions whose reward reaches `max_reward`.

    `max_reward` is rounded to the dtype of `rewards` first: a float32 reward of 0.9 does reach a `max_reward` of 0.9.

    Args:
        rewards: [P, G].
        max_reward: the reward from which on a completion is correct.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Raises:
        ConfigError: for wrong shapes or a valid reward that is not finite.

    Example:
        >>> correct_completions(torch.tensor([[0.0, 0.9]]), max_reward=0.9)
        tensor([[False,  True]])
    """
    values, graded = _checked(rewards, valid)
    return (graded & (values >= _in_dtype_of(rewards, max_reward))).to(rewards.device)


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


def _centred(
    values: Tensor, graded: Tensor, added: Tensor | None = None, best: float = 0.0
) -> _CentredGroups:
    """Returns the groups around their means, each joined by `added` [P, 1] completions of reward `best`."""
    added = torch.zeros(len(values), 1, dtype=torch.float64) if added is None else added
    # Distances from the group's largest reward, not the rewards themselves, are averaged: the mean of n equal floats
    # need not be that float, but the mean of n zeros is 0. Halves, since a difference of two finite floats can overflow.
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
    squares = (
        group.deviation.square().sum(dim=1, keepdim=True) + group.added * group.virtual_deviation.square()
    )
    freedom = group.count - 1 if std == "sample" else group.count
    denominator = (squares / freedom.clamp(min=1)).sqrt() + eps / group.scale / 2
    # Only with eps = 0 can the denominator be 0, in groups of equal rewards.
    return torch.where(denominator > 0, group.deviation / denominator, 0.0)


def _checked(rewards: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns the rewards in float64 with 0 where not valid, and the mask of the valid ones, both on the CPU."""
    if rewards.ndim != 2 or rewards.shape[1] == 0:
        raise ConfigError(f"rewards have shape {list(rewards.shape)}; allowed is [P, G] with G of at least 1")
    if valid is None:
        valid = torch.ones_like(rewards, dtype=torch.bool)
    if valid.shape != rewards.shape or valid.dtype != torch.bool:
        raise ConfigError(
            f"valid is {valid.dtype} of shape {list(valid.shape)}; "
            f"allowed is torch.bool of the shape of rewards, {list(rewards.shape)}"
        )
    graded = valid.detach().cpu()
    values = rewards.detach().cpu().double().masked_fill(~graded, 0.0)
    if not bool(values.isfinite().all()):
        bad = values[~values.isfinite()][0].item()
        raise ConfigError(f"the reward of a valid completion is {bad}; allowed are finite numbers")
    return values, graded


def _in_dtype_of(rewards: Tensor, max_reward: float) -> float:
    """Returns `max_reward` as a reward can express it: 0.1 in float32 is more than 0.1, in bfloat16 much more."""
    rounded = torch.tensor(max_reward, dtype=_result_dtype(rewards)).item()
    if not math.isfinite(rounded):
        raise ConfigError(
            f"max_reward is {max_reward}; allowed are finite numbers within {_result_dtype(rewards)}"
        )
    return float(rounded)


def _result_dtype(rewards: Tensor) -> torch.dtype:
    return rewards.dtype if rewards.dtype.is_floating_point else torch.float32


def _like(rewards: Tensor, advantages: Tensor) -> Tensor:
    dtype = _result_dtype(rewards)
    limits = torch.finfo(dtype)
    return advantages.clamp(limits.min, limits.max).to(dtype).to(rewards.device)


def _check_not_negative(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"{name} is {value}; allowed are finite numbers of at least 0")
