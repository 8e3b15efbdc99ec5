"""Methods that maximise Pass@k: Pass@k training and PKPO."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ngrpo.methods.method import GroupMethod

if TYPE_CHECKING:
    from torch import Tensor


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
