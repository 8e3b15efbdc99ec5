"""Fixed values by correctness: PSR and NSR, their weighted sum, and Reinforce-Rej."""

from __future__ import annotations

import torch
from torch import Tensor

from ngrpo.advantages.centred_groups import like_rewards
from ngrpo.argument_checks import check_not_negative
from ngrpo.filters import comparable_reward, graded_rewards

__all__ = ["nsr_advantages", "psr_advantages", "reinforce_rej_advantages", "w_reinforce_advantages"]


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

    Examples:
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

    Examples:
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

    Examples:
        >>> w_reinforce_advantages(torch.tensor([[0.0, 0.5, 1.0]]))
        tensor([[-1.0000, -1.0000,  0.1000]])

    References:
        The Surprising Effectiveness of Negative Reinforcement: https://arxiv.org/abs/2506.01347
    """
    for name, weight in (("positive_weight", positive_weight), ("negative_weight", negative_weight)):
        check_not_negative(name, weight)
    values, graded = graded_rewards(rewards, valid)
    # 0 - weight and not -weight: a weight of 0 shall give 0, not -0.
    weights = torch.where(values >= comparable_reward(max_reward, rewards), positive_weight, 0.0 - negative_weight)
    return like_rewards(rewards, weights.double().masked_fill(~graded, 0.0))


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

    Examples:
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
    return like_rewards(rewards, torch.where(mixed, correct.double() - wrong.double(), 0.0))
