"""One more token of each row through a decoder of the Llama kind, without the work of a general forward pass.

Projections and activations are the model's own modules, so an adapter on one of them counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import rms_norm

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""Layer's number, queries [B, H, d], keys and values [B, H', d] of new tokens, to what they attend to, [B, H * d]."""

_LAYERS = frozenset(
    f"transformers.models.{family}.modeling_{family}.{name}DecoderLayer"
    for family, name in (("llama", "Llama"), ("mistral", "Mistral"), ("qwen2", "Qwen2"), ("qwen3", "Qwen3"))
)
"""Layers that compute x + o(attention(norm(x))), then x + down(act(gate(norm(x))) * up(norm(x))), and nothing else."""
_FIXED_FREQUENCIES = frozenset(("default", "linear", "llama3", "yarn"))
"""Kinds of rotary embedding that depend on a token's position alone, not on the length of what was read."""
_POSITIONS = 1024
"""Positions by which the table of rotary embeddings grows."""


class PlainDecoder:
    """The layers of a decoder whose attention is causal alone, for single tokens that extend rows.

    Args:
        decoder: Hugging Face's decoder, without the output head, of a family that `of` accepts.
    """

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self._layers = [_Layer(layer) for layer in decoder.layers]
        self._cos = self._sin = torch.empty(0)

    @classmethod
    def of(cls, decoder: Any) -> Self | None:
        """Returns the decoder's steps; None for other families and for attention in windows."""
        layers = list(getattr(decoder, "layers", ()))
        kinds = {f"{type(layer).__module__}.{type(layer).__qualname__}" for layer in layers}
        if not kinds or not kinds <= _LAYERS or decoder.rotary_emb.rope_type not in _FIXED_FREQUENCIES:
            return None
        if any(_window(layer.self_attn) is not None for layer in layers):
            return None
        return cls(decoder)

    @property
    def scaling(self) -> float:
        """What scores of attention are multiplied by."""
        return self._layers[0].scaling

    def hidden_states(self, tokens: Tensor, positions: Tensor, longest: int, attend: Attend) -> Tensor:
        """Returns the last hidden states [B, D] after one more token of each row.

        Args:
            tokens: [B] int64.
            positions: [B] int64, how many tokens come before.
            longest: the largest of the positions.
            attend: keeps the new keys and values of a layer, and attends to those of each row.
        """
        x: Tensor = self._decoder.embed_tokens(tokens)
        if longest >= len(self._cos):
            self._extend_table(x, longest)
        cos, sin = self._cos[positions], self._sin[positions]
        for number, layer in enumerate(self._layers):
            q, k, v = layer.projected(x)
            x = layer.after(x, attend(number, rotated(q, cos, sin), rotated(k, cos, sin), v))
        out: Tensor = self._decoder.norm(x)
        return out

    def _extend_table(self, x: Tensor, longest: int) -> None:
        count = -(-(longest + 1) // _POSITIONS) * _POSITIONS
        cos, sin = self._decoder.rotary_emb(x, torch.arange(count, device=x.device)[None])
        half = sin.shape[-1] // 2
        signed = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)
        self._cos, self._sin = cos[0, :, None], signed[0, :, None]  # [T, 1, d]


class _Layer:
    """A layer of the decoder, in two halves around attention."""

    def __init__(self, layer: Any) -> None:
        self._attention, self._mlp = layer.self_attn, layer.mlp
        self._size, self.scaling = int(self._attention.head_dim), float(self._attention.scaling)
        self._before, self._between = _norm(layer.input_layernorm), _norm(layer.post_attention_layernorm)
        own = (getattr(self._attention, name, None) for name in ("q_norm", "k_norm"))  # Qwen3
        self._of_queries, self._of_keys = (None if norm is None else _norm(norm) for norm in own)

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns queries [B, H, d], keys and values [B, H', d] of hidden states [B, D]."""
        x, attention = self._before(x), self._attention
        parts = (project(x) for project in (attention.q_proj, attention.k_proj, attention.v_proj))
        q, k, v = (part.view(len(x), -1, self._size) for part in parts)
        if self._of_queries is not None and self._of_keys is not None:
            q, k = self._of_queries(q), self._of_keys(k)
        return q, k, v

    def after(self, x: Tensor, read: Tensor) -> Tensor:
        """Returns hidden states [B, D] after the layer: from those before it, and what attention gave [B, H * d]."""
        x = x + self._attention.o_proj(read)
        inside, mlp = self._between(x), self._mlp
        out: Tensor = x + mlp.down_proj(mlp.act_fn(mlp.gate_proj(inside)) * mlp.up_proj(inside))
        return out


def rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Returns states [B, H, d] with rotary embeddings; cos and sin are [B, 1, d], the first half of sin negated."""
    return torch.addcmul(states * cos, states.roll(states.shape[-1] // 2, dims=-1), sin)


def _norm(module: Any) -> Callable[[Tensor], Tensor]:
    shape, epsilon = tuple(module.weight.shape), module.variance_epsilon

    def norm(x: Tensor) -> Tensor:
        out: Tensor = rms_norm(x.to(module.weight.dtype), shape, module.weight, epsilon)
        return out

    return norm


def _window(attention: Any) -> Any:
    """Returns the width of an attention layer's window, None where it sees everything before."""
    # Qwen's layers have their own; Mistral's go by the config.
    return getattr(attention, "sliding_window", getattr(attention.config, "sliding_window", None))
