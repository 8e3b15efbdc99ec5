"""Drawing one token per row, exactly: temperature and top_p by inverse transform of a given uniform number."""

from __future__ import annotations

import torch
from torch import Tensor

_ELEMENTS_AT_ONCE = 1 << 24
"""Rows are drawn in slices of about this many logits: bounds the float64 temporaries for large vocabularies."""


def draw_tokens(
    logits: Tensor, uniforms: Tensor, *, temperature: float = 1.0, top_p: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Returns one token per row and the logprob that it was drawn with.

    With p = softmax(logits / temperature), the token is the first whose cumulative probability exceeds the uniform
    number. Below top_p = 1, only the smallest set of likeliest tokens whose probability reaches top_p is drawn from
    (equal ones in order of index), and logprobs are those of the renormalised set. Temperature 0 takes the likeliest
    token, with logprob 0.

    Args:
        logits: [B, V], any floating type; not finite rows give a NaN logprob.
        uniforms: [B] in [0, 1), float64.
        temperature: at least 0.
        top_p: in (0, 1].

    Returns:
        Tokens [B] int64 and logprobs [B] float32, in nats.
    """
    if temperature == 0.0:
        return logits.argmax(dim=-1), logits.new_zeros(len(logits), dtype=torch.float32)
    rows = max(1, _ELEMENTS_AT_ONCE // logits.shape[-1])
    parts = [
        _draw(logits[i : i + rows].float() / temperature, uniforms[i : i + rows], top_p)
        for i in range(0, len(logits), rows)
    ]
    return torch.cat([tokens for tokens, _ in parts]), torch.cat([logprobs for _, logprobs in parts])


def _draw(scaled: Tensor, uniforms: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    logprobs = scaled.log_softmax(dim=-1)
    if top_p >= 1.0:
        chosen = _inverse_transform(logprobs.double().exp(), uniforms)
        return chosen, logprobs.gather(-1, chosen[:, None])[:, 0]
    ordered, order = logprobs.sort(dim=-1, descending=True, stable=True)
    probs = ordered.double().exp()
    before = probs.cumsum(dim=-1) - probs
    kept = torch.where(before < top_p, probs, 0.0)
    place = _inverse_transform(kept, uniforms)[:, None]
    mass = kept.sum(dim=-1).log().float()
    return order.gather(-1, place)[:, 0], ordered.gather(-1, place)[:, 0] - mass


def _inverse_transform(probs: Tensor, uniforms: Tensor) -> Tensor:
    """Returns the first index whose cumulative weight exceeds uniform x total, so that a weight of 0 is never drawn."""
    cumulative = probs.cumsum(dim=-1)
    threshold = uniforms[:, None] * cumulative[:, -1:]
    chosen = torch.searchsorted(cumulative, threshold, right=True)[:, 0]
    return chosen.clamp(max=probs.shape[-1] - 1)
