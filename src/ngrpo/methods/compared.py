"""The methods of the paper's comparison, their common relatives and a control.

The defaults are those of the scripts published with NGRPO (github.com/nangongrui-ngr/NGRPO), which run all methods of
its comparison on one code base; where a paper and that script part, the class says so. An entropy bonus of 0.001 is
the default of that code base and was active in all of its runs.
"""

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


class PSR(GroupMethod):
    """Positive sample reinforcement: only correct completions are trained on, with advantage 1."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2506.01347"

    name: Literal["psr"] = "psr"

    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns 1 on correct completions, 0 on others."""
        from ngrpo.advantages import psr_advantages

        return psr_advantages(rewards, max_reward=self.max_reward, valid=valid)


class NSR(GroupMethod):
    """Negative sample reinforcement: only wrong completions are trained on, with advantage -1."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2506.01347"

    name: Literal["nsr"] = "nsr"

    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns -1 on wrong completions, 0 on others."""
        from ngrpo.advantages import nsr_advantages

        return nsr_advantages(rewards, max_reward=self.max_reward, valid=valid)


class PSRNSR(GroupMethod):
    """W-REINFORCE: a small fixed advantage on correct completions, -1 on wrong ones; nothing is normalised."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2506.01347"

    name: Literal["psr_nsr"] = "psr_nsr"
    positive_weight: float = Field(0.1, ge=0.0)
    """Advantage of a correct completion."""

    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns positive_weight on correct completions, -1 on wrong ones."""
        from ngrpo.advantages import w_reinforce_advantages

        return w_reinforce_advantages(
            rewards, positive_weight=self.positive_weight, max_reward=self.max_reward, valid=valid
        )


class Constant(GroupMethod):
    """Control for NGRPO: GRPO with -1/sqrt(G + 1) on all-wrong groups, under NGRPO's clip and filter."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2509.18851 (a control of this project, not of the paper)"
    divides_by_deviation: ClassVar[bool] = True

    name: Literal["constant"] = "constant"
    clip_low: float = Field(0.16, ge=0.0, le=1.0)
    clip_high: float = Field(0.24, ge=0.0)
    filter: GroupFilter = "all_correct"

    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns GRPO's advantages, and -1/sqrt(G + 1) in groups without a correct completion."""
        from ngrpo.advantages import constant_advantages

        return constant_advantages(rewards, max_reward=self.max_reward, valid=valid)


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
            valid=valid,
        )
