"""Methods with fixed advantages by correctness: PSR, NSR, PSR-NSR, Reinforce-Rej."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ngrpo.choices import GroupFilter
from ngrpo.methods.method import GroupMethod

if TYPE_CHECKING:
    from torch import Tensor


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
