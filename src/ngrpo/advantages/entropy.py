"""RL-ZVP: groups of equal rewards weigh their tokens by entropy."""

from __future__ import annotations

import torch
from torch import Tensor

from ngrpo.advantages.centred_groups import centred_groups, like_rewards, z_scores
from ngrpo.argument_checks import check_not_negative
from ngrpo.choices import Deviation
from ngrpo.errors import ConfigError
from ngrpo.filters import comparable_reward, graded_rewards

__all__ = ["rl_zvp_advantages"]


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

        H_t: entropy of the distribution that token t was sampled from
        all-correct group of equal rewards:  A_t = alpha * H_t
        all-wrong group of equal rewards:    A_t = -alpha * (max_k H_k - H_t), k over the same completion
        other groups:                        A_t = GRPO's z-score

    So uncertain tokens of a success are reinforced most, and of a failure punished least; the most uncertain
    one not at all. Entropies count as constants. Checked against two public ports; `alpha` differs between
    them (0.1, 1.0) and was not found in the paper's abstract.

    Args:
        rewards: [P, G].
        entropies: [P, G, T] in nats, at least 0, of the policy that sampled the completions.
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

    Examples:
        >>> rewards, mask = torch.tensor([[0.0], [1.0]]), torch.ones(2, 1, 3)
        >>> rl_zvp_advantages(rewards, torch.tensor([[[0.0, 1.0, 3.0]], [[0.0, 1.0, 3.0]]]), mask)
        tensor([[[-0.3000, -0.2000,  0.0000]],
        <BLANKLINE>
                [[ 0.0000,  0.1000,  0.3000]]])

    References:
        No Prompt Left Behind: https://arxiv.org/abs/2509.21880
    """
    check_not_negative("alpha", alpha)
    if entropies.shape != completion_mask.shape or entropies.shape[:2] != rewards.shape or entropies.ndim != 3:
        raise ConfigError(
            f"entropies have shape {list(entropies.shape)} and completion_mask {list(completion_mask.shape)}; "
            f"allowed is [P, G, T] with the [P, G] of rewards, {list(rewards.shape)}"
        )
    values, graded = graded_rewards(rewards, valid)
    group = centred_groups(values, graded)
    equal = (group.deviation == 0).all(dim=1, keepdim=True) & graded
    correct = values >= comparable_reward(max_reward, rewards)
    dtype, device = torch.promote_types(entropies.dtype, torch.float32), entropies.device
    base = like_rewards(rewards.to(dtype), z_scores(group, std, eps)).to(device)[..., None]
    mask = (completion_mask != 0) & graded.to(device)[..., None]
    kept = torch.where(mask, entropies.detach().to(dtype), 0.0)
    peak = kept.amax(dim=-1, keepdim=True) if kept.shape[-1] else kept
    limits = torch.finfo(dtype)
    shaped = min(alpha, limits.max) * torch.where(correct.to(device)[..., None], kept, kept - peak)
    advantages = torch.where(equal.to(device)[..., None], shaped.clamp(limits.min, limits.max), base)
    return torch.where(mask, advantages, 0.0)
