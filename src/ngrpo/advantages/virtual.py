"""Virtual rewards in the statistics of a group (NGRPO, SOVA), and the constant as their control."""

from __future__ import annotations

import torch
from torch import Tensor

from ngrpo.advantages.centred_groups import centred_groups, like_rewards, z_scores
from ngrpo.choices import Calibration, Deviation
from ngrpo.errors import ConfigError
from ngrpo.filters import comparable_reward, graded_rewards

__all__ = ["constant_advantages", "ngrpo_advantages", "sova_advantages"]


def ngrpo_advantages(
    rewards: Tensor,
    *,
    max_reward: float = 1.0,
    num_virtual: int = 1,
    std: Deviation = "sample",
    eps: float = 1e-6,
    calibrate: Calibration = "all",
    all_wrong_weight: float = 1.0,
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
        all_wrong_weight: factor of the advantages in all-wrong groups, at least 0; the paper has 1.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Returns:
        [P, G] advantages.

    Raises:
        ConfigError: for arguments out of range, a valid reward that is not finite or above `max_reward`.

    Examples:
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
    some_correct = (graded & (values >= best)).any(dim=1, keepdim=True)
    added = torch.full((len(values), 1), num_virtual, dtype=torch.float64)
    if calibrate == "all_wrong":
        added[some_correct] = 0
    scores = z_scores(centred_groups(values, graded, added, best), std, eps)
    return like_rewards(rewards, _weighted(scores, some_correct, all_wrong_weight))


def constant_advantages(
    rewards: Tensor,
    *,
    max_reward: float = 1.0,
    std: Deviation = "sample",
    eps: float = 1e-6,
    all_wrong_weight: float = 1.0,
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
        all_wrong_weight: factor of the constant, at least 0.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Returns:
        [P, G] advantages.

    Raises:
        ConfigError: for arguments out of range or a valid reward that is not finite.

    Examples:
        >>> constant_advantages(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
        tensor([[-0.5000, -0.5000, -0.5000],
                [-0.5773, -0.5773,  1.1547]])

    References:
        NGRPO, of whose calibration it is the control: https://arxiv.org/abs/2509.18851
    """
    values, graded = graded_rewards(rewards, valid)
    group = centred_groups(values, graded)
    correct = graded & (values >= comparable_reward(max_reward, rewards))
    some_correct = correct.any(dim=1, keepdim=True)
    constant = -(group.count + 1).rsqrt()
    advantages = torch.where(some_correct, z_scores(group, std, eps), constant).masked_fill(~graded, 0.0)
    return like_rewards(rewards, _weighted(advantages, some_correct, all_wrong_weight))


def _weighted(advantages: Tensor, some_correct: Tensor, all_wrong_weight: float) -> Tensor:
    """Returns the advantages [P, G], times the weight where no completion is correct; `some_correct` [P, 1]."""
    if not 0.0 <= all_wrong_weight < float("inf"):
        raise ConfigError(f"all_wrong_weight is {all_wrong_weight}; allowed are numbers of at least 0")
    return torch.where(some_correct, advantages, advantages * all_wrong_weight)


SOVA_LOWER_ANCHOR = 0.75
"""Virtual reward of SOVA in an all-correct group, in units of max_reward. Only its sign of distance matters: where all
rewards are equal, the z-scores do not depend on how far away the anchor is."""


COLLAPSED_DEVIATION = 1e-6
"""AVSPO calls a group collapsed whose population deviation is below this."""


def sova_advantages(
    rewards: Tensor,
    *,
    positive_weight: float = 0.0625,
    negative_weight: float = 0.0,
    max_reward: float = 1.0,
    eps: float = 1e-4,
    valid: Tensor | None = None,
) -> Tensor:
    """Returns SOVA's advantages: a step from GRPO towards virtual statistics, in homogeneous groups only.

        A = (1 - w) A_grpo + w A_virtual
        A_virtual: z-scores in the group joined by one virtual reward (sample deviation, n - 1)

    In an all-wrong group w is `negative_weight` and the virtual reward is `max_reward`: equal rewards get
    -w / sqrt(G + 1). In an all-correct group w is `positive_weight` and the virtual reward lies below the
    real ones: they get +w / sqrt(G + 1). Mixed groups are GRPO's. Formula and defaults are those of the
    authors' public code and launcher, which train with the positive side alone; there is no paper yet.

    Args:
        rewards: [P, G].
        positive_weight: in all-correct groups, 0 to 1.
        negative_weight: in all-wrong groups, 0 to 1.
        max_reward: the reward from which on a completion is correct.
        eps: added to the deviation, at least 0.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Returns:
        [P, G] advantages.

    Raises:
        ConfigError: for arguments out of range or a valid reward that is not finite.

    Examples:
        >>> rewards = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
        >>> sova_advantages(rewards, positive_weight=0.5, negative_weight=1.0, eps=0.0)
        tensor([[-0.5000, -0.5000, -0.5000],
                [ 0.2500,  0.2500,  0.2500]])

    References:
        SOVA-TW-GRPO: https://github.com/just-a-go/SOVA-TW-GRPO
    """
    for name, weight in (("positive_weight", positive_weight), ("negative_weight", negative_weight)):
        if not 0.0 <= weight <= 1.0:
            raise ConfigError(f"{name} is {weight}; allowed are numbers from 0 to 1")
    values, graded = graded_rewards(rewards, valid)
    best = comparable_reward(max_reward, rewards)
    correct = graded & (values >= best)
    all_wrong = ~correct.any(dim=1, keepdim=True)
    all_correct = (correct == graded).all(dim=1, keepdim=True) & ~all_wrong
    anchor = best * torch.where(all_wrong, 1.0, SOVA_LOWER_ANCHOR).double()
    weights = all_wrong * negative_weight + all_correct * positive_weight
    plain = z_scores(centred_groups(values, graded), "sample", eps)
    virtual = z_scores(centred_groups(values, graded, (all_wrong | all_correct).double(), anchor), "sample", eps)
    return like_rewards(rewards, torch.where(weights > 0, (1 - weights) * plain + weights * virtual, plain))


def _collapsed(values: Tensor, graded: Tensor) -> Tensor:
    """Returns [P, 1] bool: true for groups of practically equal rewards, false where none is valid."""
    group = centred_groups(values, graded)
    deviation = (group.deviation.square().sum(dim=1, keepdim=True) / group.count.clamp(min=1)).sqrt()
    return (deviation * group.scale * 2 < COLLAPSED_DEVIATION) & (group.count > 0)
