"""Methods with another baseline or scale: CoRPO, MaxRL, AsymRE."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from ngrpo.methods.method import GroupMethod

if TYPE_CHECKING:
    from torch import Tensor


class CoRPO(GroupMethod):
    """The group mean as baseline, but never below the reward that makes a completion correct."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2511.04439"

    name: Literal["corpo"] = "corpo"
    entropy_bonus: float = 0.0
    min_correct_reward: float = 0.5
    """Lower bound of the baseline; with rewards of 0 and 1, all-wrong groups get minus this."""

    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns r - max(min_correct_reward, mean)."""
        from ngrpo.advantages import corpo_advantages

        return corpo_advantages(rewards, min_correct_reward=self.min_correct_reward, valid=valid)


class MaxRL(GroupMethod):
    """Group mean as baseline and as unit, which follows the gradient of log p; all-wrong groups get zero."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2602.02710"
    relative: ClassVar[bool] = True

    name: Literal["maxrl"] = "maxrl"
    entropy_bonus: float = 0.0

    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns (r - mean) / (mean + 1e-6)."""
        from ngrpo.advantages import maxrl_advantages

        return maxrl_advantages(rewards, valid=valid)


class AsymRE(GroupMethod):
    """Asymmetric REINFORCE: a baseline a little below the group mean, so that successes weigh more than failures."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2506.20520"

    name: Literal["asymre"] = "asymre"
    entropy_bonus: float = 0.0
    baseline_shift: float = -0.1
    """Added to the group mean to give the baseline; every homogeneous group gets minus this."""

    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns r - (mean + baseline_shift)."""
        from ngrpo.advantages import asymre_advantages

        return asymre_advantages(rewards, baseline_shift=self.baseline_shift, valid=valid)
