"""Rewards against the group's mean: GRPO with its z-score, Dr.GRPO and RLOO without division."""

from __future__ import annotations

from torch import Tensor

from ngrpo.advantages.centred_groups import centred_groups, like_rewards, z_scores
from ngrpo.choices import Deviation
from ngrpo.filters import graded_rewards

__all__ = ["dr_grpo_advantages", "grpo_advantages", "rloo_advantages"]


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

    Examples:
        >>> import torch
        >>> grpo_advantages(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]))
        tensor([[-0.5773, -0.5773,  1.1547],
                [ 0.0000,  0.0000,  0.0000]])

    References:
        DeepSeekMath: https://arxiv.org/abs/2402.03300
    """
    values, graded = graded_rewards(rewards, valid)
    return like_rewards(rewards, z_scores(centred_groups(values, graded), std, eps))


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

    Examples:
        >>> import torch
        >>> dr_grpo_advantages(torch.tensor([[0.0, 0.0, 0.0, 1.0]]))
        tensor([[-0.2500, -0.2500, -0.2500,  0.7500]])

    References:
        Understanding R1-Zero-Like Training: https://arxiv.org/abs/2503.20783
    """
    values, graded = graded_rewards(rewards, valid)
    return like_rewards(rewards, centred_groups(values, graded).in_reward_units())


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

    Examples:
        >>> import torch
        >>> rloo_advantages(torch.tensor([[0.0, 0.0, 1.0]]))
        tensor([[-0.5000, -0.5000,  1.0000]])

    References:
        Back to Basics: https://arxiv.org/abs/2402.14740
    """
    values, graded = graded_rewards(rewards, valid)
    group = centred_groups(values, graded)
    return like_rewards(rewards, group.in_reward_units() * (group.count / (group.count - 1).clamp(min=1)))
