"""SamplingJob one token per row, exactly: temperature and top_p by inverse transform of a given uniform number."""

from __future__ import annotations

import torch
from torch import Tensor

_ELEMENTS_AT_ONCE = 1 << 24
"""Rows are sampled in slices of about this many logits: bounds the float64 temporaries for large vocabularies."""


def sample_tokens(
    logits: Tensor, uniforms: Tensor, *, temperature: float = 1.0, top_p: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Returns one token per row and the logprob that it was sampled with.

    With p = softmax(logits / temperature), the token is the first whose cumulative probability exceeds the uniform
    number. Below top_p = 1, only the smallest set of likeliest tokens whose probability reaches top_p is sampled from
    (equal ones in order of index), and logprobs are those of the renormalised set. Temperature 0 takes the likeliest
    token (of equal ones the first), with logprob 0. All of it is computed in float64.

    Args:
        logits: [B, V], any floating type, -inf for a forbidden token; a row with NaN, +inf or nothing but -inf gives
            a NaN logprob.
        uniforms: [B] in [0, 1), float64.
        temperature: at least 0.
        top_p: in (0, 1].

    Returns:
        Tokens [B] int64 and logprobs [B] float32, in nats.

    Example:
        >>> sample_tokens(torch.zeros(2, 4), torch.tensor([0.0, 0.6], dtype=torch.float64), top_p=0.5)
        (tensor([0, 1]), tensor([-0.6931, -0.6931]))
    """
    if temperature == 0.0:
        likeliest, tokens = logits.max(dim=-1)
        return tokens, (likeliest - likeliest).float()  # 0, or NaN where the row has no finite maximum
    slices = max(1, _ELEMENTS_AT_ONCE // logits.shape[-1])
    parts = [
        _sample(rows.double() / temperature, numbers, top_p)
        for rows, numbers in zip(torch.split(logits, slices), torch.split(uniforms, slices), strict=True)
    ]
    return torch.cat([tokens for tokens, _ in parts]), torch.cat([logprobs for _, logprobs in parts])


def _sample(scaled: Tensor, uniforms: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    probs = scaled.softmax(dim=-1)
    if top_p >= 1.0:
        place, sampled = _inverse_transform(probs, uniforms)
        return place[:, 0], sampled.log().float()[:, 0]
    ordered, order = probs.sort(dim=-1, descending=True, stable=True)
    before = torch.zeros_like(ordered)
    before[:, 1:] = ordered.cumsum(dim=-1)[:, :-1]
    kept = torch.where(before < top_p, ordered, 0.0)
    place, sampled = _inverse_transform(kept, uniforms)
    return order.gather(-1, place)[:, 0], (sampled / kept.sum(dim=-1, keepdim=True)).log().float()[:, 0]


def _inverse_transform(weights: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the first index [B, 1] whose cumulative weight exceeds uniform x total, and its weight [B, 1].

    A weight of 0 is never sampled: it does not raise the cumulative weight above what stands before it.
    """
    cumulative = weights.cumsum(dim=-1)
    threshold = uniforms[:, None] * cumulative[:, -1:]
    place = torch.searchsorted(cumulative, threshold, right=True)
    place = place.clamp(max=weights.shape[-1] - 1)  # NaN weights have no such index
    return place, weights.gather(-1, place)
