"""Pass@k as the objective, from all subsets of k completions: Pass@k training and PKPO."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ngrpo.advantages.centred_groups import centred_groups, like_rewards
from ngrpo.argument_checks import check_not_negative
from ngrpo.errors import ConfigError
from ngrpo.filters import comparable_reward, graded_rewards

__all__ = ["pass_at_k_advantages", "pkpo_advantages"]


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

    Examples:
        >>> pass_at_k_advantages(torch.tensor([[0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0]]), k=2)
        tensor([[-0.3333, -0.3333, -0.3333,  1.0000],
                [ 0.0000,  0.0000,  0.0000,  0.0000]])

    References:
        Pass@k Training: https://arxiv.org/abs/2508.10751
    """
    _check_k(k, least=1)
    check_not_negative("eps", eps)
    values, graded = graded_rewards(rewards, valid)
    correct = graded & (values >= comparable_reward(max_reward, rewards))
    count = graded.sum(dim=1, keepdim=True).double()
    wrong = count - correct.sum(dim=1, keepdim=True)
    fails_with_it = _subset_share(wrong - 1, count - 1, k - 1)
    fails = fails_with_it * wrong / count.clamp(min=1)
    deviation = (fails * (1 - fails)).sqrt()
    advantages = (fails - torch.where(correct, 0.0, fails_with_it)) / (deviation + eps)
    return like_rewards(rewards, torch.where(graded & (deviation > 0) & (count >= k), advantages, 0.0))


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

    Examples:
        >>> pkpo_advantages(torch.tensor([[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0]]), k=2)
        tensor([[0.0000, 0.0000, 0.0000, 0.5000],
                [0.0000, 0.0000, 0.3333, 0.3333]])

    References:
        Pass@K Policy Optimization: https://arxiv.org/abs/2505.15201
    """
    _check_k(k, least=2)
    values, graded = graded_rewards(rewards, valid)
    group = centred_groups(values, graded)
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
    return like_rewards(rewards, torch.where(graded & (count >= k), by_place, 0.0))


def _subset_share(part: Tensor, whole: Tensor, size: int) -> Tensor:
    """Returns C(part, size) / C(whole, size) in float64; 0 where `part` is smaller than `size`."""
    share = torch.ones_like(part)
    for taken in range(size):
        share = share * (part - taken).clamp(min=0) / (whole - taken).clamp(min=1)
    return share


def _check_k(k: int, *, least: int) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or k < least:
        raise ConfigError(f"k is {k!r}; allowed is an integer of at least {least}")
