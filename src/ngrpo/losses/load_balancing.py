"""The auxiliary loss of mixtures of experts, against routers that send every token to the same few experts."""

from __future__ import annotations

import torch
from torch import Tensor

from ngrpo.errors import ConfigError


def load_balancing_loss(router_logits: Tensor, experts_per_token: int) -> Tensor:
    """Returns the load-balancing loss of a router: E * sum over experts of f_e P_e, over all rows together.

    f_e is how often expert e is among those chosen per row, P_e the mean of its routing probability. It is
    `experts_per_token` where all experts are equally loaded, and more elsewhere; without rows it is 0.

    Args:
        router_logits: [K, E], one row for each token and layer.
        experts_per_token: how many experts a token is sent to, 1 to E.

    Returns:
        A 0-dimensional tensor, float32; f_e has no gradient.

    Raises:
        ConfigError: for an `experts_per_token` out of range.

    Example:
        >>> load_balancing_loss(torch.tensor([[9.0, 0.0], [0.0, 9.0]]), 1)
        tensor(1.)

    References:
        Switch Transformer, equations 4 to 6, https://arxiv.org/abs/2101.03961
    """
    experts = router_logits.shape[-1]
    if not 1 <= experts_per_token <= experts:
        raise ConfigError(f"experts_per_token is {experts_per_token}; allowed are 1 to {experts}, the experts")
    if not len(router_logits):
        return router_logits.float().sum()
    probabilities = router_logits.float().softmax(dim=-1)
    chosen = probabilities.topk(experts_per_token, dim=-1).indices
    share = torch.bincount(chosen.flatten(), minlength=experts) / len(router_logits)
    return experts * (share * probabilities.mean(dim=0)).sum()
