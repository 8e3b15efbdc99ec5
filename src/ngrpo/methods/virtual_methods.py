"""Methods with virtual rewards in a group's statistics, NGRPO and SOVA, and the constant as NGRPO's control."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ngrpo.choices import Deviation, GroupFilter
from ngrpo.methods.method import GroupMethod

if TYPE_CHECKING:
    from torch import Tensor


class Constant(GroupMethod):
    """Control for NGRPO: GRPO with -1/sqrt(G + 1) on all-wrong groups, under NGRPO's clip and filter."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2509.18851 (a control of this project, not of the paper)"
    divides_by_deviation: ClassVar[bool] = True

    name: Literal["constant"] = "constant"
    clip_low: float = Field(0.16, ge=0.0, le=1.0)
    clip_high: float = Field(0.24, ge=0.0)
    filter: GroupFilter = "all_correct"
    all_wrong_weight: float = Field(1.0, ge=0.0)
    """Factor of the advantages in all-wrong groups: the dose of the push; 0 is GRPO's silence."""

    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns GRPO's advantages, and -1/sqrt(G + 1) in groups without a correct completion."""
        from ngrpo.advantages import constant_advantages

        return constant_advantages(
            rewards, max_reward=self.max_reward, all_wrong_weight=self.all_wrong_weight, valid=valid
        )


class NGRPO(GroupMethod):
    """GRPO's statistics joined by virtual best rewards, asymmetric clipping, and no all-correct groups."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2509.18851"
    divides_by_deviation: ClassVar[bool] = True

    name: Literal["ngrpo"] = "ngrpo"
    clip_low: float = Field(0.16, ge=0.0, le=1.0)
    clip_high: float = Field(0.24, ge=0.0)
    filter: GroupFilter = "all_correct"
    num_virtual: int = Field(1, ge=0)
    """How many virtual completions of reward max_reward join each group's statistics; 0 is GRPO's estimator."""
    std: Deviation = "sample"
    """Deviation that divides: sample (n - 1, the reference code) or population (n, the paper's Eq. 6)."""
    calibrate: Literal["all", "all_wrong"] = "all"
    """Virtual completions join every group, or only all-wrong ones."""
    all_wrong_weight: float = Field(1.0, ge=0.0)
    """Factor of the advantages in all-wrong groups: the dose of the push; the paper has 1."""

    def least_group_size(self) -> int:
        """Returns 1, for one completion is compared with the virtual one; 2 without any."""
        return 1 if self.num_virtual > 0 else 2

    @property
    def bounded_by_max_reward(self) -> bool:
        """True with virtual completions: none may be worse than a real one."""
        return self.num_virtual > 0

    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns (r - m') / (s' + 1e-6), with m' and s' over real and virtual rewards."""
        from ngrpo.advantages import ngrpo_advantages

        return ngrpo_advantages(
            rewards,
            max_reward=self.max_reward,
            num_virtual=self.num_virtual,
            std=self.std,
            calibrate=self.calibrate,
            all_wrong_weight=self.all_wrong_weight,
            valid=valid,
        )


class SOVA(GroupMethod):
    """GRPO, with a share of the z-scores that one virtual reward would give in homogeneous groups, both signs."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2505.24718 (TW-GRPO, which it extends; SOVA itself is code so far)"
    divides_by_deviation: ClassVar[bool] = True

    name: Literal["sova"] = "sova"
    entropy_bonus: float = 0.0
    positive_weight: float = Field(0.0625, ge=0.0, le=1.0)
    """Share of the virtual z-scores in all-correct groups."""
    negative_weight: float = Field(0.0, ge=0.0, le=1.0)
    """Share of the virtual z-scores in all-wrong groups; the authors' launcher has the positive side alone."""

    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns (1 - w) (r - mean) / (std + 1e-4) + w times the same joined by a virtual reward."""
        from ngrpo.advantages import sova_advantages

        return sova_advantages(
            rewards,
            positive_weight=self.positive_weight,
            negative_weight=self.negative_weight,
            max_reward=self.max_reward,
            valid=valid,
        )
