"""`Method`: the settings that every method has; `GroupMethod`: those whose advantages follow from groups."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ngrpo.choices import GroupFilter
from ngrpo.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from ngrpo.losses import TokenLosses


class Method(Settings):
    """What every method has: how its loss treats advantages, and which groups it wants."""

    paper: ClassVar[str]
    """Where the method was published."""

    name: str
    """Name of the method."""
    loss: Literal["clipped", "gspo", "cispo"] = "clipped"
    """What is clipped: each token's ratio (PPO), the whole completion's (GSPO), or the weight of REINFORCE (CISPO)."""
    clip_low: float = Field(0.2, ge=0.0, le=1.0)
    """The ratio's lower bound is 1 - clip_low; it binds only where the advantage is negative (cispo: anywhere)."""
    clip_high: float = Field(0.2, ge=0.0)
    """The ratio's upper bound is 1 + clip_high; it binds only where the advantage is positive (cispo: anywhere)."""
    aggregate: Literal["token_mean", "sequence_mean", "constant"] = "token_mean"
    """How the losses of tokens become one number: mean over the tokens of the update, mean over its sequences of each
    one's token mean, or the sum over sequences x max_completion_tokens."""
    kl_coefficient: float = Field(0.0, ge=0.0)
    """Weight of the KL term to the starting model in the loss; 0 loads no reference model."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    """Estimator of that KL."""
    entropy_bonus: float = 0.001
    """Weight of the mean token entropy that is subtracted from the loss; 0 computes none."""
    filter: GroupFilter = "none"
    """Groups that do not enter the batch: none, all (all-wrong and all-correct), all_correct or all_incorrect."""
    refill: bool = True
    """Sample further problems in place of filtered groups; false just drops them."""
    max_refill_factor: float = Field(8.0, ge=1.0)
    """A step samples at most this many times problems_per_step problems."""
    max_reward: float = 1.0
    """Reward of a correct completion; a group is all-wrong when no reward reaches it."""

    def token_losses(
        self, logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, completion_mask: Tensor
    ) -> TokenLosses:
        """Returns the loss of each token under this method's `loss` and clip; tensors [B, T] as in `ngrpo.losses`."""
        from ngrpo.losses import cispo_token_losses, clipped_token_losses, gspo_token_losses

        function = {"clipped": clipped_token_losses, "gspo": gspo_token_losses, "cispo": cispo_token_losses}[self.loss]
        return function(
            logprobs, old_logprobs, advantages, completion_mask, clip_low=self.clip_low, clip_high=self.clip_high
        )

    @property
    def loss_is_per_token(self) -> bool:
        """True when a token's loss depends on no other token of its completion."""
        return self.loss != "gspo"

    def least_group_size(self) -> int:
        """Returns the smallest group in which a completion can get a gradient."""
        return 1

    @property
    def trains_on_zero_advantage(self) -> bool:
        """True when a rollout without advantage still carries gradient, through KL or the entropy bonus."""
        return self.kl_coefficient > 0.0 or self.entropy_bonus != 0.0

    @property
    def needs_reference(self) -> bool:
        """True when the model as it was before training takes part."""
        return self.kl_coefficient > 0.0


class GroupMethod(Method):
    """A method whose advantages are a function of the rewards in a group, and perhaps of its tokens' entropies."""

    relative: ClassVar[bool] = False
    """True when completions are only compared with others of their group: one alone teaches nothing."""
    needs_entropies: ClassVar[bool] = False
    """True when the advantages depend on token entropies: then they are `token_advantages`."""
    divides_by_deviation: ClassVar[bool] = False
    """True when rewards are divided by a deviation of their group, which TRL calls scale_rewards="group"."""
    also_depends_on: ClassVar[str] = ""
    """What besides one group's rewards the advantages depend on; tables by reward alone say it in a note."""

    @property
    def bounded_by_max_reward(self) -> bool:
        """True when the advantages need `max_reward` as an upper bound: a reward above it is an error."""
        return False

    @abstractmethod
    def advantages(self, rewards: Tensor, valid: Tensor | None = None) -> Tensor:
        """Returns the advantages [P, G] of rewards [P, G]; `valid` [P, G] marks the graded completions."""

    def token_advantages(
        self,
        rewards: Tensor,
        entropies: Tensor,  # noqa: ARG002
        completion_mask: Tensor,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Returns the advantages [P, G, T] of tokens: those of their completions, unless a method needs entropies.

        Args:
            rewards: [P, G].
            entropies: [P, G, T] of the policy that sampled the completions, in nats.
            completion_mask: [P, G, T], nonzero on tokens that the model wrote; others get 0.
            valid: [P, G] marks the graded completions.
        """
        return self.advantages(rewards, valid)[..., None] * (completion_mask != 0)

    def least_group_size(self) -> int:
        """Returns 2 where completions are only compared with each other, else 1."""
        return 2 if self.relative else 1

    def shaped_rewards(self, rewards: Tensor, num_tokens: Tensor, max_completion_tokens: int) -> Tensor:  # noqa: ARG002
        """Returns the rewards [P, G] from which advantages are made; only DAPO changes them, by length."""
        return rewards
