"""GRPO and its relatives that compare rewards with the group's mean: DAPO, Dr.GRPO, RLOO."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ngrpo.choices import Deviation, GroupFilter
from ngrpo.methods.method import GroupMethod

if TYPE_CHECKING:
    from torch import Tensor


class GRPO(GroupMethod):
    """Group z-score, with a KL penalty in the loss; homogeneous groups get zero."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2402.03300"
    relative: ClassVar[bool] = True
    divides_by_deviation: ClassVar[bool] = True

    name: Literal["grpo"] = "grpo"
    kl_coefficient: float = Field(0.001, ge=0.0)
    std: Deviation = "sample"
    """Deviation that divides: sample (n - 1) or population (n)."""

    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns (r - mean) / (std + 1e-6)."""
        from ngrpo.advantages import grpo_advantages

        return grpo_advantages(rewards, std=self.std, valid=valid)


class DrGRPO(GroupMethod):
    """Group mean without the deviation, and a constant in place of sequence lengths; no KL, no entropy bonus."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2503.20783"
    relative: ClassVar[bool] = True

    name: Literal["dr_grpo"] = "dr_grpo"
    aggregate: Literal["token_mean", "sequence_mean", "constant"] = "constant"
    entropy_bonus: float = 0.0

    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns r - mean."""
        from ngrpo.advantages import dr_grpo_advantages

        return dr_grpo_advantages(rewards, valid=valid)


class RLOO(GroupMethod):
    """Leave-one-out baseline: each reward minus the mean of the others."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2402.14740"
    relative: ClassVar[bool] = True

    name: Literal["rloo"] = "rloo"
    entropy_bonus: float = 0.0

    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns G / (G - 1) (r - mean)."""
        from ngrpo.advantages import rloo_advantages

        return rloo_advantages(rewards, valid=valid)


class DAPO(GroupMethod):
    """GRPO's z-score with the upper clip raised, homogeneous groups replaced, and a penalty on overlong completions."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2503.14476"
    relative: ClassVar[bool] = True
    divides_by_deviation: ClassVar[bool] = True
    also_depends_on: ClassVar[str] = "the lengths of completions (overlong penalty)"

    name: Literal["dapo"] = "dapo"
    clip_high: float = Field(0.28, ge=0.0)
    filter: GroupFilter = "all"
    std: Deviation = "sample"
    """Deviation that divides: sample (n - 1) or population (n)."""
    overlong_buffer_tokens: int = Field(1024, ge=0)
    """Length of the zone below max_completion_tokens in which the penalty falls linearly from 0 to -1; 0 for none."""

    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns (r - mean) / (std + 1e-6) of the shaped rewards."""
        from ngrpo.advantages import grpo_advantages

        return grpo_advantages(rewards, std=self.std, valid=valid)

    def shaped_rewards(self, rewards: Tensor, num_tokens: Tensor, max_completion_tokens: int) -> Tensor:
        """Returns the rewards plus ((Lmax - Lbuffer) - L) / Lbuffer, kept in [-1, 0], for completions of L tokens."""
        if self.overlong_buffer_tokens == 0:
            return rewards
        start = max_completion_tokens - self.overlong_buffer_tokens
        return rewards + ((start - num_tokens) / self.overlong_buffer_tokens).clamp(-1.0, 0.0)
