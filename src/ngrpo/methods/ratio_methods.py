"""GRPO's advantages under another ratio or clip: GSPO, CISPO."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ngrpo.choices import Deviation
from ngrpo.methods.method import GroupMethod

if TYPE_CHECKING:
    from torch import Tensor


class GSPO(GroupMethod):
    """GRPO's z-scores under one ratio per completion, clipped as a whole within far narrower bounds."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2507.18071"
    relative: ClassVar[bool] = True
    divides_by_deviation: ClassVar[bool] = True

    name: Literal["gspo"] = "gspo"
    loss: Literal["clipped", "gspo", "cispo"] = "gspo"
    clip_low: float = Field(3e-4, ge=0.0, le=1.0)
    clip_high: float = Field(4e-4, ge=0.0)
    aggregate: Literal["token_mean", "sequence_mean", "constant"] = "sequence_mean"
    entropy_bonus: float = 0.0
    std: Deviation = "sample"
    """Deviation that divides: sample (n - 1) or population (n)."""

    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns (r - mean) / (std + 1e-6)."""
        from ngrpo.advantages import grpo_advantages

        return grpo_advantages(rewards, std=self.std, valid=valid)


class CISPO(GroupMethod):
    """GRPO's z-scores under REINFORCE with a clipped weight: no token ever loses its gradient to the clip."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2506.13585"
    relative: ClassVar[bool] = True
    divides_by_deviation: ClassVar[bool] = True

    name: Literal["cispo"] = "cispo"
    loss: Literal["clipped", "gspo", "cispo"] = "cispo"
    clip_low: float = Field(1.0, ge=0.0, le=1.0)
    clip_high: float = Field(5.0, ge=0.0)
    entropy_bonus: float = 0.0
    std: Deviation = "sample"
    """Deviation that divides: sample (n - 1) or population (n)."""

    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns (r - mean) / (std + 1e-6)."""
        from ngrpo.advantages import grpo_advantages

        return grpo_advantages(rewards, std=self.std, valid=valid)
