"""Losses: three policy losses with one signature, the KL to a reference policy, the value loss, and their aggregation.

    clipped, gspo, cispo    policy losses        value        the loss of a critic
    kl                      KL estimators        masked_tokens    token values to one number

All work on [B, T] tensors with a `completion_mask` that is nonzero on the tokens the model wrote. What other tokens
hold changes nothing, not even NaN; their gradient is exactly 0. Half precision is raised to float32.

A loss over micro-batches equals the loss over the whole update when each micro-batch is given the denominator of the
whole (`loss_denominator` of all sequences of the update) and their losses are summed.
"""

from ngrpo.choices import Aggregate, KLEstimator
from ngrpo.losses.cispo import cispo_policy_loss, cispo_token_losses
from ngrpo.losses.clipped import PolicyLoss, TokenLosses, clipped_policy_loss, clipped_token_losses
from ngrpo.losses.gspo import gspo_policy_loss, gspo_token_losses
from ngrpo.losses.kl import kl_divergence
from ngrpo.losses.load_balancing import load_balancing_loss
from ngrpo.losses.masked_tokens import MAX_LOG_RATIO, aggregate_tokens, loss_denominator, token_weights
from ngrpo.losses.value import value_loss

__all__ = [
    "MAX_LOG_RATIO",
    "Aggregate",
    "KLEstimator",
    "PolicyLoss",
    "TokenLosses",
    "aggregate_tokens",
    "cispo_policy_loss",
    "cispo_token_losses",
    "clipped_policy_loss",
    "clipped_token_losses",
    "gspo_policy_loss",
    "gspo_token_losses",
    "kl_divergence",
    "load_balancing_loss",
    "loss_denominator",
    "token_weights",
    "value_loss",
]
