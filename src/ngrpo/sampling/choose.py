"""Sample one token per row, exactly: temperature and truncation by inverse transform of a given uniform number."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ngrpo.kept_tokens import NO_TRUNCATION, KeptSets, Truncation, kept_counts

_ELEMENTS_AT_ONCE = 1 << 24
"""Rows are sampled in slices of about this many logits: bounds the float64 temporaries for large vocabularies."""
_BLOCK = 64
"""Neighbouring tokens whose weights are added in float32; the sums of blocks are added in float64."""
_FEWEST_TOKENS, _FEWEST_LOGITS = 4096, 1 << 17
"""Vocabulary, and logits of all rows, from which on blocks are faster than a cumulative sum over all."""
_MARGIN = 4e-6
"""Share of a row's weight within which a cumulative weight by blocks may be wrong; see `_by_blocks`."""


class SampledTokens(NamedTuple):
    """Tokens [B] int64, their logprobs [B] float32, and what the truncation kept of each row; None where all."""

    tokens: Tensor
    logprobs: Tensor
    kept: KeptSets | None


def sample_tokens(
    logits: Tensor, uniforms: Tensor, *, temperature: float = 1.0, truncation: Truncation = NO_TRUNCATION
) -> SampledTokens:
    """Returns one token per row and the logprob that it was sampled with.

    With p = softmax(logits / temperature), the token is the first whose cumulative probability exceeds the uniform
    number. With a truncation, only the tokens that it keeps are sampled from, likeliest first, and logprobs are those
    of the renormalised set. Temperature 0 takes the likeliest token (of equal ones the first), with logprob 0, and
    truncates nothing. Tokens are those of a computation in float64; a logprob may differ from it in its last digits.

    Args:
        logits: [B, V], any floating type, -inf for a forbidden token; a row with NaN, +inf or nothing but -inf gives
            a NaN logprob.
        uniforms: [B] in [0, 1), float64.
        temperature: at least 0.
        truncation: which tokens can be sampled.

    Returns:
        Tokens, logprobs in nats, and the kept tokens.

    Examples:
        >>> uniforms = torch.tensor([0.0, 0.6], dtype=torch.float64)
        >>> sample_tokens(torch.zeros(2, 4), uniforms, truncation=Truncation(top_p=0.5))[:2]
        (tensor([0, 1]), tensor([-0.6931, -0.6931]))
    """
    if temperature == 0.0:
        likeliest, tokens = logits.max(dim=-1)
        # The logprob is 0, or NaN where the row has no finite maximum.
        return SampledTokens(tokens, (likeliest - likeliest).float(), None)
    if not truncation.keeps_all:
        return _truncated(logits, uniforms, temperature, truncation)
    # On another device, asking for the rows that are left to float64 would be a transfer at each token.
    by_blocks = logits.device.type == "cpu" and logits.dtype != torch.float64
    if by_blocks and logits.shape[1] >= _FEWEST_TOKENS and logits.numel() >= _FEWEST_LOGITS:
        tokens, logprobs, certain = _by_blocks(logits.float(), uniforms, temperature)
        rows = (~certain).nonzero()[:, 0]
        if len(rows):
            tokens[rows], logprobs[rows] = _in_float64(logits[rows], uniforms[rows], temperature)
        return SampledTokens(tokens, logprobs, None)
    return SampledTokens(*_in_float64(logits, uniforms, temperature), None)


def _by_blocks(logits: Tensor, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Returns tokens [B], logprobs [B], and [B] bool: true where float64 certainly gives the same token.

    A sum of a block's float32 weights has a relative error below 2e-6: 1.2e-7 of the exponential, 5e-7 of the sum of
    64, and two roundings of 6e-8 x |z| in an exponent z <= 0, whose mean is at most the distribution's entropy, log V.
    Cumulative weight and threshold then differ from the exact ones by twice that at most, and a token whose interval
    holds the threshold with this margin on both sides is the exact computation's.
    """
    rows, vocabulary = logits.shape
    whole = vocabulary - vocabulary % _BLOCK
    largest = logits.amax(dim=-1, keepdim=True)
    weights = _shifted(logits, largest, temperature).exp_()
    sums = weights[:, :whole].reshape(rows, -1, _BLOCK).sum(dim=-1)
    if whole < vocabulary:
        sums = torch.cat([sums, weights[:, whole:].sum(dim=-1, keepdim=True)], dim=1)
    cumulative = sums.double().cumsum(dim=-1)
    total = cumulative[:, -1:]
    threshold = uniforms[:, None] * total
    block = torch.searchsorted(cumulative, threshold, right=True).clamp(max=cumulative.shape[1] - 1)
    before = cumulative.gather(-1, block) - sums.gather(-1, block).double()
    places = block * _BLOCK + torch.arange(_BLOCK)
    inside = _shifted(logits.gather(-1, places.clamp(max=vocabulary - 1)), largest, temperature).double()
    own = inside.exp().masked_fill(places >= vocabulary, 0.0)
    upper = before + own.cumsum(dim=-1)
    place = torch.searchsorted(upper, threshold, right=True).clamp(max=_BLOCK - 1)
    end, weight = upper.gather(-1, place), own.gather(-1, place)
    margin = _MARGIN * total
    certain = (end - threshold > margin) & (threshold - (end - weight) > margin)  # neither for NaN
    logprobs = (inside.gather(-1, place) - total.log()).float()
    return (block * _BLOCK + place)[:, 0], logprobs[:, 0], certain[:, 0]


def _shifted(logits: Tensor, largest: Tensor, temperature: float) -> Tensor:
    """Returns a copy of logits [B, N], less the largest [B, 1] of their rows, divided by the temperature."""
    shifted = logits - largest
    return shifted if temperature == 1.0 else shifted.div_(temperature)


def _slices(logits: Tensor, uniforms: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Returns rows of logits and their numbers, a slice at a time."""
    count = max(1, _ELEMENTS_AT_ONCE // logits.shape[-1])
    return list(zip(torch.split(logits, count), torch.split(uniforms, count), strict=True))


def _in_float64(logits: Tensor, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    tokens, logprobs = [], []
    for rows, numbers in _slices(logits, uniforms):
        place, sampled = _inverse_transform((rows.double() / temperature).softmax(dim=-1), numbers)
        tokens.append(place[:, 0])
        logprobs.append(sampled.log().float()[:, 0])
    return torch.cat(tokens), torch.cat(logprobs)


def _truncated(logits: Tensor, uniforms: Tensor, temperature: float, truncation: Truncation) -> SampledTokens:
    tokens, logprobs, counts, kept_tokens = [], [], [], []
    columns = torch.arange(logits.shape[-1], device=logits.device)
    for rows, numbers in _slices(logits, uniforms):
        probs = (rows.double() / temperature).softmax(dim=-1)
        ordered, order = probs.sort(dim=-1, descending=True, stable=True)
        count = kept_counts(ordered, truncation)
        inside = columns < count[:, None]
        kept = torch.where(inside, ordered, 0.0)
        place, sampled = _inverse_transform(kept, numbers)
        tokens.append(order.gather(-1, place)[:, 0])
        logprobs.append((sampled / kept.sum(dim=-1, keepdim=True)).log().float()[:, 0])
        counts.append(count)
        kept_tokens.append(order[inside])
    sets = KeptSets.of_counts(torch.cat(counts), torch.cat(kept_tokens))
    return SampledTokens(torch.cat(tokens), torch.cat(logprobs), sets)


def _inverse_transform(weights: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the first index [B, 1] whose cumulative weight exceeds uniform x total, and its weight [B, 1].

    A weight of 0 is never sampled: it does not raise the cumulative weight above what stands before it.
    """
    cumulative = weights.cumsum(dim=-1)
    threshold = uniforms[:, None] * cumulative[:, -1:]
    place = torch.searchsorted(cumulative, threshold, right=True)
    place = place.clamp(max=weights.shape[-1] - 1)  # NaN weights have no such index
    return place, weights.gather(-1, place)
