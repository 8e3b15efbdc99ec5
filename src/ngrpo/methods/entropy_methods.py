"""RL-ZVP: groups of equal rewards, weighed by token entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ngrpo.choices import Deviation
from ngrpo.methods.method import GroupMethod

if TYPE_CHECKING:
    from torch import Tensor


class RLZVP(GroupMethod):
    """GRPO where rewards differ; where they are all equal, each token learns by its entropy, up or down."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2509.21880"
    needs_entropies: ClassVar[bool] = True
    also_depends_on: ClassVar[str] = "the entropies of tokens (in homogeneous groups)"
    divides_by_deviation: ClassVar[bool] = True

    name: Literal["rl_zvp"] = "rl_zvp"
    clip_high: float = Field(0.28, ge=0.0)
    entropy_bonus: float = 0.0
    alpha: float = Field(0.1, ge=0.0)
    """Weight of the entropies in groups of equal rewards."""
    std: Deviation = "sample"
    """Deviation that divides: sample (n - 1) or population (n)."""

    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns the part that needs no entropies: (r - mean) / (std + 1e-6), 0 in groups of equal rewards."""
        from ngrpo.advantages import grpo_advantages

        return grpo_advantages(rewards, std=self.std, valid=valid)

    def token_advantages(
        self, rewards: Tensor, entropies: Tensor, completion_mask: Tensor, valid: Tensor | None = None
    ) -> Tensor:
        """Returns alpha H in all-correct groups, -alpha (max H - H) in all-wrong ones, else `advantages`."""
        from ngrpo.advantages import rl_zvp_advantages

        return rl_zvp_advantages(
            rewards,
            entropies,
            completion_mask,
            alpha=self.alpha,
            max_reward=self.max_reward,
            std=self.std,
            valid=valid,
        )
