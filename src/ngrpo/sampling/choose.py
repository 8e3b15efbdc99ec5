"""Sample one token per row, exactly: temperature and top_p by inverse transform of a given uniform number."""

from __future__ import annotations

import torch
from torch import Tensor

_ELEMENTS_AT_ONCE = 1 << 24
"""Rows are sampled in slices of about this many logits: bounds the float64 temporaries for large vocabularies."""
_BLOCK = 64
"""Neighbouring tokens whose weights are added in float32; the sums of blocks are added in float64."""
_FEWEST_TOKENS, _FEWEST_LOGITS = 4096, 1 << 17
"""Vocabulary, and logits of all rows, from which on blocks are faster than a cumulative sum over all."""
_MARGIN = 4e-6
"""Share of a row's weight within which a cumulative weight by blocks may be wrong; see `_by_blocks`."""


def sample_tokens(
    logits: Tensor, uniforms: Tensor, *, temperature: float = 1.0, top_p: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Returns one token per row and the logprob that it was sampled with.

    With p = softmax(logits / temperature), the token is the first whose cumulative probability exceeds the uniform
    number. Below top_p = 1, only the smallest set of likeliest tokens whose probability reaches top_p is sampled from
    (equal ones in order of index), and logprobs are those of the renormalised set. Temperature 0 takes the likeliest
    token (of equal ones the first), with logprob 0. Tokens are those of a computation in float64; a logprob may
    differ from it in its last digits.

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
    # On another device, asking for the rows that are left to float64 would be a transfer at each token.
    by_blocks = logits.device.type == "cpu" and logits.dtype != torch.float64 and top_p >= 1.0
    if by_blocks and logits.shape[1] >= _FEWEST_TOKENS and logits.numel() >= _FEWEST_LOGITS:
        tokens, logprobs, certain = _by_blocks(logits.float(), uniforms, temperature)
        rows = (~certain).nonzero()[:, 0]
        if len(rows):
            tokens[rows], logprobs[rows] = _in_float64(logits[rows], uniforms[rows], temperature, top_p)
        return tokens, logprobs
    return _in_float64(logits, uniforms, temperature, top_p)


def _by_blocks(logits: Tensor, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Returns tokens [B], logprobs [B], and [B] bool: true where float64 certainly gives the same token.

    A sum of a block's float32 weights has a relative error below 2e-6: 1.2e-7 of the exponential, 5e-7 of the sum of
    64, and two roundings of 6e-8 x |z| in an exponent z <= 0, whose mean is at most the distribution's entropy, log V.
    Cumulative weight and threshold then differ from the exact ones by twice that at most, and a token whose interval
    holds the threshold with this margin on both sides is the exact computation's.
    """
    rows, vocabulary = logits.shape
    whole = vocabulary - vocabulary % _BLOCK
    shifted = logits - logits.amax(dim=-1, keepdim=True)
    if temperature != 1.0:
        shifted /= temperature
    weights = shifted.exp()
    sums = weights[:, :whole].reshape(rows, -1, _BLOCK).sum(dim=-1)
    if whole < vocabulary:
        sums = torch.cat([sums, weights[:, whole:].sum(dim=-1, keepdim=True)], dim=1)
    cumulative = sums.double().cumsum(dim=-1)
    total = cumulative[:, -1:]
    threshold = uniforms[:, None] * total
    block = torch.searchsorted(cumulative, threshold, right=True).clamp(max=cumulative.shape[1] - 1)
    before = cumulative.gather(-1, block) - sums.gather(-1, block).double()
    places = block * _BLOCK + torch.arange(_BLOCK)
    inside = shifted.gather(-1, places.clamp(max=vocabulary - 1)).double()
    own = inside.exp().masked_fill(places >= vocabulary, 0.0)
    upper = before + own.cumsum(dim=-1)
    place = torch.searchsorted(upper, threshold, right=True).clamp(max=_BLOCK - 1)
    end, weight = upper.gather(-1, place), own.gather(-1, place)
    margin = _MARGIN * total
    certain = (end - threshold > margin) & (threshold - (end - weight) > margin)  # neither for NaN
    logprobs = (inside.gather(-1, place) - total.log()).float()
    return (block * _BLOCK + place)[:, 0], logprobs[:, 0], certain[:, 0]


def _in_float64(logits: Tensor, uniforms: Tensor, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
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
