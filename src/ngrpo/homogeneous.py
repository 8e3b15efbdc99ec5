"""Later rivals that, like NGRPO, are made for the groups in which all completions got the same reward.

SOVA and AVSPO add virtual rewards to such groups' statistics, RL-ZVP weighs their tokens by entropy. All three also
reinforce all-correct groups, which NGRPO drops. The promises of `ngrpo.advantages` hold here too.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ngrpo.advantages import Deviation, _centred, _check_not_negative, _like, _z_scores
from ngrpo.errors import ConfigError
from ngrpo.filters import comparable_reward, graded_rewards

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

    Example:
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
    plain = _z_scores(_centred(values, graded), "sample", eps)
    virtual = _z_scores(_centred(values, graded, (all_wrong | all_correct).double(), anchor), "sample", eps)
    return _like(rewards, torch.where(weights > 0, (1 - weights) * plain + weights * virtual, plain))


def avspo_advantages(
    rewards: Tensor,
    *,
    threshold: float = 0.5,
    sensitivity: float = 0.5,
    anchor_reward: float = 0.1,
    eps: float = 1e-4,
    valid: Tensor | None = None,
) -> Tensor:
    """Returns AVSPO's advantages: when too many groups of a step have collapsed, they get virtual rewards.

        rate = share of the groups with a population deviation below 1e-6
        K = ceil(G rate^sensitivity), between 1 and G
        virtual rewards of a collapsed group, j = 1 .. K:
            best reward of the group * (1 - j / (K + 1))     where that is above 0
            anchor_reward * (K - j + 1) / K                  else
        A = (r - m) / (s + eps), with m and *population* deviation s of real and virtual rewards

    That happens when rate > threshold, and to collapsed groups only: all-wrong ones get one negative number,
    all-correct ones a positive one. All else is GRPO's z-score (sample deviation, this eps). One call must
    see all groups of a step, for the rate is theirs; `avspo_threshold` moves the threshold between steps.
    Checked against a public port; the paper's own code is not public.

    Args:
        rewards: [P, G] of a whole step; the method is made for 0 and 1.
        threshold: 0 to 1; the published one starts at 0.5 and moves.
        sensitivity: exponent of the rate, at least 0.
        anchor_reward: largest virtual reward of an all-wrong group, above 0.
        eps: added to the deviation, at least 0.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Returns:
        [P, G] advantages.

    Raises:
        ConfigError: for arguments out of range or a valid reward that is not finite.

    Example:
        >>> avspo_advantages(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), eps=0.0)  # joined by .1, .05 and 2/3, 1/3
        tensor([[-0.9045, -0.9045],
                [ 0.9045,  0.9045]])

    References:
        Advantage Collapse in GRPO: https://arxiv.org/abs/2605.21125
    """
    _check_share("threshold", threshold)
    _check_not_negative("sensitivity", sensitivity)
    if not (math.isfinite(anchor_reward) and anchor_reward > 0):
        raise ConfigError(f"anchor_reward is {anchor_reward}; allowed are finite numbers above 0")
    values, graded = graded_rewards(rewards, valid)
    plain = _z_scores(_centred(values, graded), "sample", eps)
    collapsed = _collapsed(values, graded)
    rate = _collapse_rate(collapsed, graded)
    if rate <= threshold:
        return _like(rewards, plain)
    count = graded.sum(dim=1, keepdim=True).double()
    added = (count * rate**sensitivity).ceil().clamp(min=1).minimum(count)
    number = torch.arange(1, rewards.shape[1] + 1, dtype=torch.float64)
    best = values.masked_fill(~graded, -math.inf).amax(dim=1, keepdim=True)
    virtual = torch.where(
        best > 0, best * (1 - number / (added + 1)), anchor_reward * (added - number + 1) / added.clamp(min=1)
    )
    exists = (number <= added) & collapsed
    joined = _centred(torch.cat([values, virtual], dim=1), torch.cat([graded, exists], dim=1))
    calibrated = _z_scores(joined, "population", eps)[:, : rewards.shape[1]]
    return _like(rewards, torch.where(collapsed, calibrated, plain))


def avspo_threshold(
    threshold: float,
    rewards: Tensor,
    previous_mean_reward: float | None,
    *,
    learning_rate: float = 0.01,
    bounds: tuple[float, float] = (0.1, 0.9),
    valid: Tensor | None = None,
) -> float:
    """Returns AVSPO's threshold for the next step.

        threshold + learning_rate * sign(mean reward - previous mean reward) * (rate - threshold), within bounds

    While the reward rises the threshold follows the collapse rate, while it falls it flees it; without a step
    before, or at an equal reward, it stays. Checked against a public port.

    Args:
        threshold: of this step, within `bounds`.
        rewards: [P, G] of this step.
        previous_mean_reward: mean valid reward of the step before; None in the first step.
        learning_rate: at least 0.
        bounds: lowest and highest threshold, within 0 to 1.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Raises:
        ConfigError: for arguments out of range or a valid reward that is not finite.

    Example:
        >>> avspo_threshold(0.5, torch.tensor([[0.0, 0.0], [1.0, 1.0]]), previous_mean_reward=0.25)
        0.505

    References:
        Advantage Collapse in GRPO: https://arxiv.org/abs/2605.21125
    """
    low, high = bounds
    if not 0.0 <= low <= threshold <= high <= 1.0:
        raise ConfigError(
            f"threshold is {threshold} and bounds are {bounds}; allowed is 0 <= low <= threshold <= high <= 1"
        )
    _check_not_negative("learning_rate", learning_rate)
    values, graded = graded_rewards(rewards, valid)
    if previous_mean_reward is None or not bool(graded.any()):
        return threshold
    change = values[graded].mean().item() - previous_mean_reward
    direction = (change > 0) - (change < 0)
    rate = _collapse_rate(_collapsed(values, graded), graded)
    return min(high, max(low, threshold + learning_rate * direction * (rate - threshold)))


def rl_zvp_advantages(
    rewards: Tensor,
    entropies: Tensor,
    completion_mask: Tensor,
    *,
    alpha: float = 0.1,
    max_reward: float = 1.0,
    std: Deviation = "sample",
    eps: float = 1e-6,
    valid: Tensor | None = None,
) -> Tensor:
    """Returns RL-ZVP's advantages, one per token: groups of equal rewards learn by the entropies of their tokens.

        H_t: entropy of the distribution that token t was drawn from
        all-correct group of equal rewards:  A_t = alpha * H_t
        all-wrong group of equal rewards:    A_t = -alpha * (max_k H_k - H_t), k over the same completion
        other groups:                        A_t = GRPO's z-score

    So uncertain tokens of a success are reinforced most, and of a failure punished least; the most uncertain
    one not at all. Entropies count as constants. Checked against two public ports; `alpha` differs between
    them (0.1, 1.0) and was not found in the paper's abstract.

    Args:
        rewards: [P, G].
        entropies: [P, G, T] in nats, at least 0, of the policy that drew the completions.
        completion_mask: [P, G, T], nonzero on tokens that the model wrote; other tokens get 0.
        alpha: at least 0.
        max_reward: the reward from which on a completion is correct.
        std: `sample` (n - 1) or `population` (n), for the z-scores.
        eps: added to the deviation, at least 0.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Returns:
        [P, G, T] in the dtype of `entropies`, at least float32, without gradient.

    Raises:
        ConfigError: for shapes that do not fit, arguments out of range, a valid reward that is not finite.

    Example:
        >>> rewards, mask = torch.tensor([[0.0], [1.0]]), torch.ones(2, 1, 3)
        >>> rl_zvp_advantages(rewards, torch.tensor([[[0.0, 1.0, 3.0]], [[0.0, 1.0, 3.0]]]), mask)
        tensor([[[-0.3000, -0.2000,  0.0000]],
        <BLANKLINE>
                [[ 0.0000,  0.1000,  0.3000]]])

    References:
        No Prompt Left Behind: https://arxiv.org/abs/2509.21880
    """
    _check_not_negative("alpha", alpha)
    if entropies.shape != completion_mask.shape or entropies.shape[:2] != rewards.shape or entropies.ndim != 3:
        raise ConfigError(
            f"entropies have shape {list(entropies.shape)} and completion_mask {list(completion_mask.shape)}; "
            f"allowed is [P, G, T] with the [P, G] of rewards, {list(rewards.shape)}"
        )
    values, graded = graded_rewards(rewards, valid)
    group = _centred(values, graded)
    equal = (group.deviation == 0).all(dim=1, keepdim=True) & graded
    correct = values >= comparable_reward(max_reward, rewards)
    dtype, device = torch.promote_types(entropies.dtype, torch.float32), entropies.device
    base = _like(rewards.to(dtype), _z_scores(group, std, eps)).to(device)[..., None]
    mask = (completion_mask != 0) & graded.to(device)[..., None]
    kept = torch.where(mask, entropies.detach().to(dtype), 0.0)
    peak = kept.amax(dim=-1, keepdim=True) if kept.shape[-1] else kept
    limits = torch.finfo(dtype)
    shaped = min(alpha, limits.max) * torch.where(correct.to(device)[..., None], kept, kept - peak)
    advantages = torch.where(equal.to(device)[..., None], shaped.clamp(limits.min, limits.max), base)
    return torch.where(mask, advantages, 0.0)


def _collapsed(values: Tensor, graded: Tensor) -> Tensor:
    """Returns [P, 1] bool: true for groups of practically equal rewards, false where none is valid."""
    group = _centred(values, graded)
    deviation = (group.deviation.square().sum(dim=1, keepdim=True) / group.count.clamp(min=1)).sqrt()
    return (deviation * group.scale * 2 < COLLAPSED_DEVIATION) & (group.count > 0)


def _collapse_rate(collapsed: Tensor, graded: Tensor) -> float:
    """Returns the share of collapsed groups among those with a valid completion; 0 without any."""
    return collapsed.sum().item() / max(int(graded.any(dim=1).sum()), 1)


def _check_share(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name} is {value}; allowed are numbers from 0 to 1")
