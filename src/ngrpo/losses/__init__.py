"""Losses: three policy losses with one signature, the KL to a reference policy, the value loss, and their aggregation.

    clipped, gspo, cispo    policy losses        value        the loss of a critic
    kl                      KL estimators        aggregate    token values to one number

All work on [B, T] tensors with a `completion_mask` that is nonzero on the tokens the model wrote. What other tokens
hold changes nothing, not even NaN; their gradient is exactly 0. Half precision is raised to float32.

A loss over micro-batches equals the loss over the whole update when each micro-batch is given the denominator of the
whole (`loss_denominator` of all sequences of the update) and their losses are summed.
"""

from ngrpo.choices import Aggregate, KLEstimator
from ngrpo.losses.aggregate import aggregate_tokens, loss_denominator
from ngrpo.losses.cispo import cispo_policy_loss
from ngrpo.losses.clipped import PolicyLoss, clipped_policy_loss
from ngrpo.losses.gspo import gspo_policy_loss
from ngrpo.losses.kl import kl_divergence
from ngrpo.losses.token_tensors import MAX_LOG_RATIO
from ngrpo.losses.value import value_loss

__all__ = [
    "MAX_LOG_RATIO",
    "Aggregate",
    "KLEstimator",
    "PolicyLoss",
    "aggregate_tokens",
    "cispo_policy_loss",
    "clipped_policy_loss",
    "gspo_policy_loss",
    "kl_divergence",
    "loss_denominator",
    "value_loss",
]
