"""Estimators of the KL divergence to a reference policy."""

from __future__ import annotations

import torch
from torch import Tensor

from ngrpo.choices import KLEstimator
from ngrpo.errors import ConfigError
from ngrpo.losses.masked_tokens import MAX_LOG_RATIO, check_shapes, masked_difference


def kl_divergence(
    logprobs: Tensor,
    ref_logprobs: Tensor,
    *,
    estimator: KLEstimator,
    completion_mask: Tensor | None = None,
) -> Tensor:
    """Returns [B, T] estimates of KL(policy || reference) at the sampled tokens.

        d = ref_logprobs - logprobs
        k1 = -d        k2 = d^2 / 2        k3 = exp(d) - d - 1

    All are 0 where the two agree. k1 and k3 are unbiased, k2 and k3 never negative. As a loss, k1 has an
    expected gradient of 0: it belongs in the reward. d is clamped to +-20 in k3.

    Args:
        logprobs: [B, T] of the current policy, in nats; the only argument that gets a gradient.
        ref_logprobs: [B, T] of the reference model.
        estimator: `k1`, `k2` or `k3`.
        completion_mask: [B, T], nonzero on tokens that the model wrote; the others give 0. All when None.

    Returns:
        [B, T] in nats, for `aggregate_tokens`.

    Raises:
        ConfigError: for shapes that do not fit or an unknown estimator.

    Examples:
        >>> kl_divergence(torch.tensor([[-1.0]]), torch.tensor([[-2.0]]), estimator="k3")
        tensor([[0.3679]])

    References:
        Schulman, Approximating KL Divergence: http://joschu.net/blog/kl-approx.html
    """
    mask = torch.ones_like(logprobs, dtype=torch.bool) if completion_mask is None else completion_mask != 0
    check_shapes(logprobs=logprobs, ref_logprobs=ref_logprobs, completion_mask=mask)
    difference = masked_difference(ref_logprobs.detach(), logprobs, mask)
    if estimator == "k1":
        return -difference
    if estimator == "k2":
        return difference.square() / 2
    if estimator == "k3":
        bounded = difference.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        return bounded.exp() - bounded - 1
    raise ConfigError(f"estimator is {estimator!r}; allowed are 'k1', 'k2' and 'k3'")
