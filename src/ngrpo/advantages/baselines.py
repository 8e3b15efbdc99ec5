"""Rewards against another baseline or scale than the group's mean and deviation: CoRPO, MaxRL, AsymRE."""

from __future__ import annotations

import torch
from torch import Tensor

from ngrpo.advantages.centred_groups import centred_groups, group_means, in_reward_units, like_rewards
from ngrpo.argument_checks import check_finite, check_not_negative
from ngrpo.filters import comparable_reward, graded_rewards

__all__ = ["asymre_advantages", "corpo_advantages", "maxrl_advantages"]


def corpo_advantages(rewards: Tensor, *, min_correct_reward: float = 0.5, valid: Tensor | None = None) -> Tensor:
    """Returns CoRPO's advantages: the group mean is the baseline, but never below what a correct answer gets.

        A_i = r_i - max(min_correct_reward, mean(R))

    An all-wrong group of reward 0 gets -min_correct_reward everywhere, an all-correct one of equal rewards
    exactly 0. No completion below `min_correct_reward` is ever reinforced. With rewards of 0 and 1 any
    threshold in (0, 1) is a correct one; at 1 the mean never exceeds it and this is `nsr_advantages`. The
    default lies between: a choice of this project, the paper rewards code by degrees. Checked against the
    paper's abstract and algorithms that quote its Eq. 11, not against its code.

    Args:
        rewards: [P, G].
        min_correct_reward: the lowest reward that a correct completion can get, finite.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Returns:
        [P, G] advantages.

    Raises:
        ConfigError: for arguments out of range or a valid reward that is not finite.

    Examples:
        >>> corpo_advantages(torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0]]))
        tensor([[-0.5000, -0.5000, -0.5000, -0.5000],
                [-0.7500,  0.2500,  0.2500,  0.2500]])

    References:
        CoRPO: https://arxiv.org/abs/2511.04439
    """
    check_finite("min_correct_reward", min_correct_reward)
    values, graded = graded_rewards(rewards, valid)
    group = centred_groups(values, graded)
    missing = (comparable_reward(min_correct_reward, rewards) - group_means(values, graded, group)).clamp(min=0.0)
    return like_rewards(rewards, (in_reward_units(group) - missing).masked_fill(~graded, 0.0))


def maxrl_advantages(rewards: Tensor, *, eps: float = 1e-6, valid: Tensor | None = None) -> Tensor:
    """Returns MaxRL's advantages: distances from the group mean in units of that mean.

        A_i = (r_i - mean(R)) / (mean(R) + eps)

    Dividing by the success rate instead of the deviation makes the expected gradient that of log p, cut
    after G terms: a lone success among G weighs G - 1. Groups whose mean is not above 0, all-wrong ones
    among them, get 0, groups of equal rewards exactly 0. (The authors' code does not subtract the mean in a
    group of one; here that group gets 0.) Checked against the authors' code.

    Args:
        rewards: [P, G]; the method is made for 0 and 1.
        eps: added to the mean, at least 0.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Returns:
        [P, G] advantages.

    Raises:
        ConfigError: for arguments out of range or a valid reward that is not finite.

    Examples:
        >>> maxrl_advantages(torch.tensor([[0.0, 0.0, 0.0, 1.0]]), eps=0.0)
        tensor([[-1., -1., -1.,  3.]])

    References:
        MaxRL: https://arxiv.org/abs/2602.02710
    """
    check_not_negative("eps", eps)
    values, graded = graded_rewards(rewards, valid)
    group = centred_groups(values, graded)
    mean = group_means(values, graded, group)
    # In the group's own scale, where no product overflows.
    denominator = (mean / 2 + eps / 2) / group.scale
    return like_rewards(rewards, torch.where(mean > 0, group.deviation / denominator, 0.0))


def asymre_advantages(rewards: Tensor, *, baseline_shift: float = -0.1, valid: Tensor | None = None) -> Tensor:
    """Returns AsymRE's advantages: a baseline that lies off the group mean by a constant.

        A_i = r_i - (mean(R) + baseline_shift)

    A negative shift weighs successes more than failures, which the paper recommends off-policy. It also gives
    every homogeneous group, all-wrong ones included, -baseline_shift everywhere: what was sampled becomes
    likelier whatever it was. The paper has no ratio and no clip; here the loss of the run has both. Checked
    against the abstract (A = r - V); the shift of -0.1 was not.

    Args:
        rewards: [P, G].
        baseline_shift: finite, in units of reward.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Returns:
        [P, G] advantages.

    Raises:
        ConfigError: for arguments out of range or a valid reward that is not finite.

    Examples:
        >>> asymre_advantages(torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]))
        tensor([[ 0.1000,  0.1000,  0.1000,  0.1000],
                [-0.1500, -0.1500, -0.1500,  0.8500]])

    References:
        Asymmetric REINFORCE: https://arxiv.org/abs/2506.20520
    """
    check_finite("baseline_shift", baseline_shift)
    values, graded = graded_rewards(rewards, valid)
    advantages = in_reward_units(centred_groups(values, graded)) - baseline_shift
    return like_rewards(rewards, advantages.masked_fill(~graded, 0.0))
