"""Later rivals that are one function of a group's rewards, with the promises of `ngrpo.advantages`.

What each does with an all-wrong group is where they part: CoRPO and AsymRE give all of its completions the same
number, the others 0. Rivals made for groups of one kind alone are in `ngrpo.homogeneous`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ngrpo.advantages import _centred, _CentredGroups, _check_not_negative, _like
from ngrpo.errors import ConfigError
from ngrpo.filters import comparable_reward, graded_rewards


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

    Example:
        >>> corpo_advantages(torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0]]))
        tensor([[-0.5000, -0.5000, -0.5000, -0.5000],
                [-0.7500,  0.2500,  0.2500,  0.2500]])

    References:
        CoRPO: https://arxiv.org/abs/2511.04439
    """
    _check_finite("min_correct_reward", min_correct_reward)
    values, graded = graded_rewards(rewards, valid)
    group = _centred(values, graded)
    missing = (comparable_reward(min_correct_reward, rewards) - _means(values, graded, group)).clamp(min=0.0)
    return _like(rewards, (_in_reward_units(group) - missing).masked_fill(~graded, 0.0))


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

    Example:
        >>> maxrl_advantages(torch.tensor([[0.0, 0.0, 0.0, 1.0]]), eps=0.0)
        tensor([[-1., -1., -1.,  3.]])

    References:
        MaxRL: https://arxiv.org/abs/2602.02710
    """
    _check_not_negative("eps", eps)
    values, graded = graded_rewards(rewards, valid)
    group = _centred(values, graded)
    mean = _means(values, graded, group)
    # In the group's own scale, where no product overflows.
    denominator = (mean / 2 + eps / 2) / group.scale
    return _like(rewards, torch.where(mean > 0, group.deviation / denominator, 0.0))


def asymre_advantages(rewards: Tensor, *, baseline_shift: float = -0.1, valid: Tensor | None = None) -> Tensor:
    """Returns AsymRE's advantages: a baseline that lies off the group mean by a constant.

        A_i = r_i - (mean(R) + baseline_shift)

    A negative shift weighs successes more than failures, which the paper recommends off-policy. It also gives
    every homogeneous group, all-wrong ones included, -baseline_shift everywhere: what was drawn becomes
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

    Example:
        >>> asymre_advantages(torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]))
        tensor([[ 0.1000,  0.1000,  0.1000,  0.1000],
                [-0.1500, -0.1500, -0.1500,  0.8500]])

    References:
        Asymmetric REINFORCE: https://arxiv.org/abs/2506.20520
    """
    _check_finite("baseline_shift", baseline_shift)
    values, graded = graded_rewards(rewards, valid)
    advantages = _in_reward_units(_centred(values, graded)) - baseline_shift
    return _like(rewards, advantages.masked_fill(~graded, 0.0))


def reinforce_rej_advantages(rewards: Tensor, *, max_reward: float = 1.0, valid: Tensor | None = None) -> Tensor:
    """Returns Reinforce-Rej's advantages: plain REINFORCE in mixed groups, nothing in homogeneous ones.

    A = 1 for a correct completion and -1 for a wrong one (the paper's reward, without a baseline), and 0 in
    groups whose valid completions are all correct or all wrong. A partial reward counts as wrong. Checked
    against summaries of the paper, not against its code.

    Args:
        rewards: [P, G].
        max_reward: the reward from which on a completion is correct.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Returns:
        [P, G] advantages.

    Raises:
        ConfigError: for wrong shapes or a valid reward that is not finite.

    Example:
        >>> reinforce_rej_advantages(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
        tensor([[-1., -1.,  1.],
                [ 0.,  0.,  0.],
                [ 0.,  0.,  0.]])

    References:
        A Minimalist Approach to LLM Reasoning: https://arxiv.org/abs/2504.11343
    """
    values, graded = graded_rewards(rewards, valid)
    correct = graded & (values >= comparable_reward(max_reward, rewards))
    wrong = graded & ~correct
    mixed = correct.any(dim=1, keepdim=True) & wrong.any(dim=1, keepdim=True)
    return _like(rewards, torch.where(mixed, correct.double() - wrong.double(), 0.0))


def pass_at_k_advantages(
    rewards: Tensor, *, k: int = 4, max_reward: float = 1.0, eps: float = 1e-6, valid: Tensor | None = None
) -> Tensor:
    """Returns the advantages of Pass@k training, in closed form over all subsets of k completions.

        of N completions W are wrong;  F = C(W, k) / C(N, k)      the share of subsets without a correct one
        s = sqrt(F (1 - F))
        A = F / (s + eps)                                          for a correct completion
        A = (F - C(W - 1, k - 1) / C(N - 1, k - 1)) / (s + eps)    for a wrong one

    A group where every subset has a correct completion (W < k) teaches nothing, nor does an all-wrong one:
    both get exactly 0. With k = 1 this is `grpo_advantages` with the population deviation. A partial reward
    counts as wrong. Where there are k valid completions or fewer there are no two subsets to compare: 0 for
    all. Checked against the authors' code and brute force; the default k was not.

    Args:
        rewards: [P, G].
        k: at least 1.
        max_reward: the reward from which on a completion is correct.
        eps: added to the deviation, at least 0.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Returns:
        [P, G] advantages.

    Raises:
        ConfigError: for arguments out of range or a valid reward that is not finite.

    Example:
        >>> pass_at_k_advantages(torch.tensor([[0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0]]), k=2)
        tensor([[-0.3333, -0.3333, -0.3333,  1.0000],
                [ 0.0000,  0.0000,  0.0000,  0.0000]])

    References:
        Pass@k Training: https://arxiv.org/abs/2508.10751
    """
    _check_k(k, least=1)
    _check_not_negative("eps", eps)
    values, graded = graded_rewards(rewards, valid)
    correct = graded & (values >= comparable_reward(max_reward, rewards))
    count = graded.sum(dim=1, keepdim=True).double()
    wrong = count - correct.sum(dim=1, keepdim=True)
    fails_with_it = _subset_share(wrong - 1, count - 1, k - 1)
    fails = fails_with_it * wrong / count.clamp(min=1)
    deviation = (fails * (1 - fails)).sqrt()
    advantages = (fails - torch.where(correct, 0.0, fails_with_it)) / (deviation + eps)
    return _like(rewards, torch.where(graded & (deviation > 0) & (count >= k), advantages, 0.0))


def pkpo_advantages(rewards: Tensor, *, k: int = 4, valid: Tensor | None = None) -> Tensor:
    """Returns PKPO's transformed rewards, baselined by leaving one out of each subset of k completions.

        A_i = 1 / C(N, k) * sum over subsets I of size k that hold i of (max of I - max of I without i)

    Only the best of a subset adds to it, so no advantage is negative: an all-wrong group, and any group of
    equal rewards, gets exactly 0. The *sum* over a group of A_i times the gradient of its logprob is an
    unbiased estimate of the gradient of the expected best of k; a loss that takes a mean sees it G times
    smaller. With rewards of 0 and 1 only subsets with one correct completion count. Groups with fewer than k
    valid completions get 0. Checked, Eq. 33, against a public port, and against brute force in the tests.

    Args:
        rewards: [P, G], any finite rewards.
        k: at least 2: a subset of one has nothing left to compare with.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Returns:
        [P, G] advantages.

    Raises:
        ConfigError: for arguments out of range or a valid reward that is not finite.

    Example:
        >>> pkpo_advantages(torch.tensor([[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0]]), k=2)
        tensor([[0.0000, 0.0000, 0.0000, 0.5000],
                [0.0000, 0.0000, 0.3333, 0.3333]])

    References:
        Pass@K Policy Optimization: https://arxiv.org/abs/2505.15201
    """
    _check_k(k, least=2)
    values, graded = graded_rewards(rewards, valid)
    group = _centred(values, graded)
    # In ascending order, with the invalid ones last, m completions lie below rank m, so the best of the other k - 1
    # lies below it in C(m, k - 1) subsets. Summed by gaps between neighbours, equal rewards get equal numbers.
    ascending, order = group.deviation.masked_fill(~graded, math.inf).sort(dim=1)
    gaps = torch.where(ascending.isfinite(), ascending, 0.0).diff(dim=1, prepend=ascending[:, :1])
    gaps = torch.where(ascending.isfinite(), gaps, 0.0)
    count = graded.sum(dim=1, keepdim=True).double()
    below = torch.arange(rewards.shape[1], dtype=torch.float64).expand_as(gaps)
    subsets = _subset_share(below, count, k - 1) * (k / (count - k + 1).clamp(min=1))
    by_rank = (gaps * subsets).cumsum(dim=1)
    by_place = torch.zeros_like(by_rank).scatter(1, order, by_rank) * group.scale * 2
    return _like(rewards, torch.where(graded & (count >= k), by_place, 0.0))


def _subset_share(part: Tensor, whole: Tensor, size: int) -> Tensor:
    """Returns C(part, size) / C(whole, size) in float64; 0 where `part` is smaller than `size`."""
    share = torch.ones_like(part)
    for taken in range(size):
        share = share * (part - taken).clamp(min=0) / (whole - taken).clamp(min=1)
    return share


def _in_reward_units(group: _CentredGroups) -> Tensor:
    """Returns the distances from the mean, bounded so that a sum with another finite number is never NaN."""
    limits = torch.finfo(torch.float64)
    return group.in_reward_units().clamp(limits.min, limits.max)


def _means(values: Tensor, graded: Tensor, group: _CentredGroups) -> Tensor:
    """Returns the mean [P, 1] of the valid rewards, exactly r where all are r, and 0 where none is valid."""
    largest = values.masked_fill(~graded, -math.inf).amax(dim=1, keepdim=True)
    above_mean = _in_reward_units(group).masked_fill(~graded, 0.0).amax(dim=1, keepdim=True)
    return torch.where(group.count > 0, largest - above_mean, 0.0)


def _check_k(k: int, *, least: int) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or k < least:
        raise ConfigError(f"k is {k!r}; allowed is an integer of at least {least}")


def _check_finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise ConfigError(f"{name} is {value}; allowed are finite numbers")
