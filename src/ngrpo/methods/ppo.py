"""PPO: the one method of the comparison that has a critic in place of a group."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ngrpo.methods.method import Method


class PPO(Method):
    """A critic predicts what each token will lead to: advantages by GAE, and the KL penalty is part of the reward."""

    paper: ClassVar[str] = "https://arxiv.org/abs/1707.06347"

    name: Literal["ppo"] = "ppo"
    critic: Literal["separate", "shared"] = "separate"
    """The value model: a separate copy of the starting model with a value head, trained as the policy is (all weights,
    or adapters of its own with [model.lora]), or only a head on the policy's own, shared trunk."""
    critic_lr: float = Field(1e-5, gt=0.0)
    """Learning rate of the critic; of its head alone where the trunk is shared, which learns at [optimizer] lr."""
    critic_warmup_steps: int = Field(0, ge=0)
    """In so many steps at the start only the critic is updated; of a shared trunk, only the head."""
    value_clip: float = Field(0.5, ge=0.0)
    """A value that moved further than this in a step, in units of reward, gets no further gradient."""
    value_coefficient: float = Field(1.0, gt=0.0)
    """Weight of the value loss beside the policy's in the gradient of a shared trunk; a separate critic has none."""
    gamma: float = Field(1.0, ge=0.0, le=1.0)
    """Discount per token."""
    lam: float = Field(1.0, ge=0.0, le=1.0)
    """Decay of the trace; at 1 a token's return is all that follows it, and the critic only a baseline."""
    reward_kl_coefficient: float = Field(0.001, ge=0.0)
    """Weight of old_logprob - ref_logprob, which is subtracted from the reward of each token."""

    @property
    def needs_reference(self) -> bool:
        """True when the KL to the starting model is part of the reward or of the loss."""
        return self.reward_kl_coefficient > 0.0 or self.kl_coefficient > 0.0
