"""Which completions count, what kind of group they make, and which groups enter the batch.

Everything here reads a table of rewards [P, G] and, beside it, `valid` [P, G]: true for the completions
that could be graded. A completion is correct when its reward reaches `max_reward`, compared in the dtype of
`rewards`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ngrpo.choices import GroupFilter
from ngrpo.errors import ConfigError


@dataclass(frozen=True, slots=True, eq=False)
class GroupKinds:
    """Four [P] bool tensors; exactly one of them is true for each group.

    `ungraded`: fewer than min(2, G) valid completions. Of the others, `all_wrong`: no valid reward reaches
    `max_reward`; `all_correct`: every one does; `mixed`: some do.
    """

    all_wrong: Tensor
    all_correct: Tensor
    mixed: Tensor
    ungraded: Tensor


def kept_groups(
    rewards: Tensor, *, filter: GroupFilter, max_reward: float = 1.0, valid: Tensor | None = None
) -> Tensor:
    """Returns [P] bool: true for the groups that enter the batch.

    An ungraded group (fewer than min(2, G) valid completions) is dropped by every filter, `none` included:
    nothing is known about its problem.

    Args:
        rewards: [P, G].
        filter: `none`; `all` drops all-wrong and all-correct groups (DAPO), `all_correct` the all-correct
            ones (NGRPO), `all_incorrect` the all-wrong ones.
        max_reward: the reward from which on a completion is correct.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Raises:
        ConfigError: for an unknown filter, wrong shapes or a valid reward that is not finite.

    Examples:
        >>> rewards = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> kept_groups(rewards, filter="all_correct")
        tensor([ True,  True, False])

    References:
        DAPO, dynamic sampling: https://arxiv.org/abs/2503.14476; NGRPO: https://arxiv.org/abs/2509.18851
    """
    kinds = group_kinds(rewards, max_reward=max_reward, valid=valid)
    dropped = {
        "none": kinds.ungraded,
        "all": kinds.ungraded | kinds.all_wrong | kinds.all_correct,
        "all_correct": kinds.ungraded | kinds.all_correct,
        "all_incorrect": kinds.ungraded | kinds.all_wrong,
    }
    if filter not in dropped:
        raise ConfigError(f"filter is {filter!r}; allowed are {', '.join(map(repr, dropped))}")
    return ~dropped[filter]


def group_kinds(rewards: Tensor, *, max_reward: float = 1.0, valid: Tensor | None = None) -> GroupKinds:
    """Returns which groups are all-wrong, all-correct, mixed and ungraded.

    Args:
        rewards: [P, G].
        max_reward: the reward from which on a completion is correct.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Raises:
        ConfigError: for wrong shapes or a valid reward that is not finite.

    Examples:
        >>> group_kinds(torch.tensor([[0.0, 0.0], [0.0, 1.0]])).all_wrong
        tensor([ True, False])
    """
    correct = correct_completions(rewards, max_reward=max_reward, valid=valid)
    graded = torch.ones_like(correct) if valid is None else valid.to(correct.device)
    count, num_correct = graded.sum(dim=1), correct.sum(dim=1)
    ungraded = count < min(2, rewards.shape[1])
    all_wrong = ~ungraded & (num_correct == 0)
    all_correct = ~ungraded & (num_correct == count)
    return GroupKinds(all_wrong, all_correct, ~(ungraded | all_wrong | all_correct), ungraded)


def correct_completions(rewards: Tensor, *, max_reward: float = 1.0, valid: Tensor | None = None) -> Tensor:
    """Returns [P, G] bool: true for the valid completions whose reward reaches `max_reward`.

    Args:
        rewards: [P, G].
        max_reward: the reward from which on a completion is correct.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Raises:
        ConfigError: for wrong shapes or a valid reward that is not finite.

    Examples:
        >>> correct_completions(torch.tensor([[0.0, 0.9]]), max_reward=0.9)
        tensor([[False,  True]])
    """
    values, graded = graded_rewards(rewards, valid)
    return (graded & (values >= comparable_reward(max_reward, rewards))).to(rewards.device)


def graded_rewards(rewards: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns the rewards in float64 with 0 where not valid, and the mask of the valid ones, both on the CPU.

    Args:
        rewards: [P, G], any dtype; entries that are not valid may hold NaN.
        valid: [P, G] bool, true for completions that were graded; all when None.

    Raises:
        ConfigError: for wrong shapes or a valid reward that is not finite.

    Examples:
        >>> graded_rewards(torch.tensor([[1.0, float("nan")]]), torch.tensor([[True, False]]))[0]
        tensor([[1., 0.]], dtype=torch.float64)
    """
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


def comparable_reward(max_reward: float, rewards: Tensor) -> float:
    """Returns `max_reward` as the dtype of `rewards` holds it: a float32 reward of 0.9 shall reach 0.9.

    Args:
        max_reward: finite.
        rewards: only its dtype counts; integers are read as float32.

    Raises:
        ConfigError: when the dtype holds no finite number near `max_reward`.

    Examples:
        >>> comparable_reward(0.9, torch.zeros(1, dtype=torch.bfloat16))
        0.8984375
    """
    dtype = rewards.dtype if rewards.dtype.is_floating_point else torch.float32
    rounded = torch.tensor(max_reward, dtype=torch.float64).to(dtype).item()
    if not math.isfinite(rounded):
        raise ConfigError(f"max_reward is {max_reward}; allowed are finite numbers of {dtype}")
    return rounded
