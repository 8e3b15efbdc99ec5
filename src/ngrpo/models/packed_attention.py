"""Attention over packed groups: prompts and completions one after another, each prompt once for all its completions.

Everything in a transformer but attention treats tokens alone, so a pack needs no padding there. Attention takes it
apart: prompts attend to themselves, completions to their prompt and themselves, in padded blocks of similar lengths.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ngrpo.errors import ConfigError
from ngrpo.models.packing import Packing, arrange
from ngrpo.models.plain_decoder import PlainDecoder

NAME = "ngrpo_packed"
"""Under this name Hugging Face's models find `packed_attention`."""
STRUCTURE_ERRORS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a model of an unexpected structure raises where ours expects another one."""
_NOT_ORDINARY = ("sliding_window", "softcap", "s_aux", "position_bias")
"""Arguments of attention that is more than causal; where one has a value, a pack cannot be read."""


class _Pad(torch.autograd.Function):
    """Packed tokens [M, ...] to padded ones [K, ...], 0 in the padding."""

    @staticmethod
    def forward(ctx: Any, packed: Tensor, places: Tensor, count: int) -> Tensor:
        ctx.save_for_backward(places)
        return packed.new_zeros(count, *packed.shape[1:]).index_copy_(0, places, packed)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient.index_select(0, ctx.saved_tensors[0]), None, None


class _Unpad(torch.autograd.Function):
    """Padded tokens [K, ...] to packed ones [M, ...]: the way back."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.count = len(padded)
        return padded.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        out = gradient.new_zeros(ctx.count, *gradient.shape[1:])
        return out.index_copy_(0, ctx.saved_tensors[0], gradient), None


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001
    *,
    scaling: float | None = None,
    packing: Packing | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Returns what attention gives each packed token, [1, M, H, d], as Hugging Face's models call it.

    Args:
        module: the attention layer.
        query: [1, H, M, d].
        key: [1, H', M, d]; H is a multiple of H'.
        value: [1, H', M, d'].
        attention_mask: not looked at.
        scaling: of the scores; None for 1 / sqrt(d).
        packing: how the tokens are arranged.
        others: whatever else the family gives its attention.

    Raises:
        ConfigError: for attention that is more than causal.
    """
    strange = [name for name in _NOT_ORDINARY if others.get(name) is not None]
    if strange or packing is None or not getattr(module, "is_causal", True):
        raise ConfigError(f"this attention is not causal alone ({', '.join(strange) or 'no packing'}): use padded rows")
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    return attention_in_pack(q, k, v, packing, scaling)[None], None


def attention_in_pack(query: Tensor, key: Tensor, value: Tensor, packing: Packing, scaling: float | None) -> Tensor:
    """Returns what attention gives packed tokens, [M, H, d'], for queries [M, H, d], keys and values [M, H', ...]."""
    q, k, v = (_padded(x, packing) for x in (query, key, value))
    parts = []
    for block in packing.blocks:
        queries, keys, values = (_cut(x, block.start, block.shape) for x in (q, k, v))
        parts.append(_attended(queries, keys, values, None, scaling))
        for few in block.completions:
            own_q, own_k, own_v = (_cut(x, few.start, few.shape) for x in (q, k, v))
            all_k, all_v = (
                torch.cat([of_prompt.index_select(0, few.prompts), own], dim=1)
                for of_prompt, own in ((keys, own_k), (values, own_v))
            )
            parts.append(_attended(own_q, all_k, all_v, few.mask.to(own_q.dtype), scaling))
    out = torch.cat(parts)
    if packing.places is not None:
        out = _Unpad.apply(out, packing.places)  # type: ignore[no-untyped-call]
    return out


def plain_hidden_states(decoder: PlainDecoder, tokens: Tensor, packing: Packing, *, recompute: bool) -> Tensor:
    """Returns the last hidden states [M, D] of packed tokens [M]; see `PlainDecoder.hidden_states`."""

    def attend(_: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return attention_in_pack(query, key, value, packing, decoder.scaling).flatten(1)

    return decoder.hidden_states(tokens, packing.position_ids[0], packing.longest, attend, recompute=recompute)


def _padded(packed: Tensor, packing: Packing) -> Tensor:
    if packing.places is None:
        return packed
    out: Tensor = _Pad.apply(packed, packing.places, packing.padded_tokens)  # type: ignore[no-untyped-call]
    return out


def _cut(padded: Tensor, start: int, shape: tuple[int, int]) -> Tensor:
    return padded[start : start + shape[0] * shape[1]].view(*shape, *padded.shape[1:])


def _attended(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """Returns attention of [B, T, H, d] over [B, S, H', d] as [B * T, H, d']; without a mask it is causal."""
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    grouped = q.shape[1] != k.shape[1]
    if grouped and mask is not None and q.device.type != "cpu":  # no fast kernel of a GPU takes groups with a mask
        k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
        grouped = False
    out = scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None, scale=scale, enable_gqa=grouped)
    return out.transpose(1, 2).flatten(0, 1)


@contextmanager
def packed_attention_of(config: Any) -> Iterator[None]:
    """With a Hugging Face model, given by the config that its layers read, whose attention is `packed_attention`."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, packed_attention)
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


@torch.no_grad()
def reads_packs(lm: Any) -> bool:
    """Returns whether a language model gives packed tokens the hidden states of the rows that they stand for.

    Tried on a few tokens. Half precision rounds the two differently; what that could hide, `packed_attention` refuses.
    """
    ids = torch.arange(14, device=lm.device) % lm.vocabulary_size
    prompts, completions = (ids[:4], ids[4:6]), (ids[6:9], ids[9:13], ids[13:])  # the last one is of the second prompt
    of = (0, 0, 1)
    arranged = arrange([len(prompt) for prompt in prompts], of, [len(completion) for completion in completions])
    parts = [prompts[i] if is_prompt else completions[i][:-1] for is_prompt, i in arranged.order]
    packing = arranged.packing(lm.device)
    errors, sizes = [], []
    try:
        with lm.autocast():
            with packed_attention_of(lm.plain.get_decoder().config):
                packed = lm.hidden_states(torch.cat(parts)[None], packing)[0].float()
            order = [i for is_prompt, i in arranged.order if not is_prompt]
            for i, places in zip(order, arranged.places, strict=True):
                row = torch.cat([prompts[of[i]], completions[i]])[:-1]
                wanted = lm.hidden_states(row[None])[0, -len(places) :].float()
                errors.append((packed[torch.from_numpy(places).to(lm.device)] - wanted).abs().mean())
                sizes.append(wanted.abs().mean())
    except (ConfigError, *STRUCTURE_ERRORS):
        return False
    tolerance = 1e-5 if lm.dtype == torch.float32 else 2e-2
    return bool(torch.stack(errors).mean() <= tolerance * torch.stack(sizes).mean())
