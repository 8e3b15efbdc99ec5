"""Later rivals: an estimator or a loss of another paper each, under this project's trainer.

The defaults are the paper's where it says them; what was left open keeps the defaults of `Method`, without the entropy
bonus, which belongs to the code of NGRPO's comparison. docs/methods.md says what was checked against which source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ngrpo.choices import Deviation, GroupFilter
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


class ReinforceRej(GroupMethod):
    """REINFORCE without baseline or normalisation on mixed groups; homogeneous ones are rejected, not replaced."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2504.11343"
    relative: ClassVar[bool] = True

    name: Literal["reinforce_rej"] = "reinforce_rej"
    entropy_bonus: float = 0.0
    filter: GroupFilter = "all"
    refill: bool = False

    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns 1 for a correct and -1 for a wrong completion of a mixed group, 0 in others."""
        from ngrpo.advantages import reinforce_rej_advantages

        return reinforce_rej_advantages(rewards, max_reward=self.max_reward, valid=valid)


class PassAtK(GroupMethod):
    """Pass@k training: what a completion adds to the chance that one of k is correct, as a z-score over subsets."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2508.10751"
    divides_by_deviation: ClassVar[bool] = True

    name: Literal["pass_at_k"] = "pass_at_k"
    entropy_bonus: float = 0.0
    k: int = Field(4, ge=1)
    """Size of the subsets; groups with no more valid completions than that get zero."""

    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns the closed form over all subsets of k completions."""
        from ngrpo.advantages import pass_at_k_advantages

        return pass_at_k_advantages(rewards, k=self.k, max_reward=self.max_reward, valid=valid)

    def least_group_size(self) -> int:
        """Returns k + 1: where all completions make one subset, there is nothing to compare it with."""
        return self.k + 1


class PKPO(GroupMethod):
    """Pass@K policy optimization: how far a completion raises the best of k, over the best without it."""

    paper: ClassVar[str] = "https://arxiv.org/abs/2505.15201"

    name: Literal["pkpo"] = "pkpo"
    entropy_bonus: float = 0.0
    k: int = Field(4, ge=2)
    """Size of the subsets; groups with fewer valid completions get zero."""

    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns the mean over subsets of k of what each completion adds to their best reward, times k / G."""
        from ngrpo.advantages import pkpo_advantages

        return pkpo_advantages(rewards, k=self.k, valid=valid)

    def least_group_size(self) -> int:
        """Returns k."""
        return self.k


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
