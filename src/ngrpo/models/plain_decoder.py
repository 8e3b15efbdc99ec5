"""Tokens through a decoder of the Llama kind, without the work of a general forward pass.

Tokens are a list, whichever rows they belong to: what attention gives each of them is left to the caller. Projections
are the model's own modules, so an adapter on one of them counts. Norms and gated products have a gradient of their own,
which takes less memory, and fewer passes over it, than that of their single operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear, rms_norm, silu
from torch.utils.checkpoint import checkpoint

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""Layer's number, queries [M, H, d], keys and values [M, H', d] of tokens, to what attention gives them, [M, H * d]."""

_LAYERS = frozenset(
    f"transformers.models.{family}.modeling_{family}.{name}DecoderLayer"
    for family, name in (("llama", "Llama"), ("mistral", "Mistral"), ("qwen2", "Qwen2"), ("qwen3", "Qwen3"))
)
"""Layers that compute x + o(attention(norm(x))), then x + down(act(gate(norm(x))) * up(norm(x))), and nothing else."""
_FIXED_FREQUENCIES = frozenset(("default", "linear", "llama3", "yarn"))
"""Kinds of rotary embedding that depend on a token's position alone, not on the length of what was read."""
_SILU = frozenset(("SiLU", "SiLUActivation"))
"""Activations of torch and transformers that `gated_down` has inside."""
_POSITIONS = 1024
"""Positions by which the table of rotary embeddings grows."""
_ROWS = 512
"""Rows that are worked on at a time on a CPU: what is computed in between stays in its cache."""


class PlainDecoder:
    """The layers of a decoder whose attention is causal alone.

    Args:
        decoder: Hugging Face's decoder, without the output head, of a family that `of` accepts.
    """

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self._layers, self._last = [_Layer(layer) for layer in decoder.layers], _norm(decoder.norm)
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
    def is_watched(self) -> bool:
        """True where a hook waits for the forward pass of a module that is not called here."""
        passed_by = [self._decoder, *(module for layer in self._layers for module in layer.passed_by)]
        return any(map(has_hooks, passed_by))

    @property
    def scaling(self) -> float:
        """What scores of attention are multiplied by."""
        return self._layers[0].scaling

    def hidden_states(
        self, tokens: Tensor, positions: Tensor, longest: int, attend: Attend, *, recompute: bool = False
    ) -> Tensor:
        """Returns the last hidden states [M, D] of tokens.

        Args:
            tokens: [M] int64.
            positions: [M] int64, how many tokens come before each in its row.
            longest: the largest of the positions, or more.
            attend: attention.
            recompute: whether a layer's activations are computed again for the gradient, not kept.
        """
        x: Tensor = self._decoder.embed_tokens(tokens)
        if longest >= len(self._cos):
            self._extend_table(x, longest)
        cos, sin = self._cos[positions], self._sin[positions]

        def step(number: int, x: Tensor) -> Tensor:
            q, k, v = self._layers[number].projected(x)
            return self._layers[number].after(x, attend(number, rotated(q, cos, sin), rotated(k, cos, sin), v))

        for number in range(len(self._layers)):
            if recompute:
                x = checkpoint(step, number, x, use_reentrant=False, preserve_rng_state=False)
            else:
                x = step(number, x)
        return self._last(x)

    def _extend_table(self, x: Tensor, longest: int) -> None:
        count = -(-(longest + 1) // _POSITIONS) * _POSITIONS
        cos, sin = self._decoder.rotary_emb(x, torch.arange(count, device=x.device)[None])
        half = sin.shape[-1] // 2
        signed = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)
        self._cos, self._sin = cos[0, :, None], signed[0, :, None]  # [T, 1, d]


def has_hooks(module: Any) -> bool:
    """Returns whether something waits for a module's forward pass."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


class _Layer:
    """A layer of the decoder, in two halves around attention."""

    def __init__(self, layer: Any) -> None:
        self._attention, self._mlp = layer.self_attn, layer.mlp
        self._size, self.scaling = int(self._attention.head_dim), float(self._attention.scaling)
        self.passed_by = [layer, layer.self_attn, layer.mlp, layer.mlp.down_proj, layer.mlp.act_fn]
        self.passed_by += [layer.input_layernorm, layer.post_attention_layernorm]
        self._before, self._between = _norm(layer.input_layernorm), _norm(layer.post_attention_layernorm)
        own = (getattr(self._attention, name, None) for name in ("q_norm", "k_norm"))  # Qwen3
        self._of_queries, self._of_keys = (None if norm is None else _norm(norm) for norm in own)

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns queries [M, H, d], keys and values [M, H', d] of hidden states [M, D]."""
        x, attention = self._before(x), self._attention
        parts = (project(x) for project in (attention.q_proj, attention.k_proj, attention.v_proj))
        q, k, v = (part.view(len(x), -1, self._size) for part in parts)
        if self._of_queries is not None and self._of_keys is not None:
            q, k = self._of_queries(q), self._of_keys(k)
        return q, k, v

    def after(self, x: Tensor, read: Tensor) -> Tensor:
        """Returns hidden states [M, D] after the layer: from those before it, and what attention gave [M, H * d]."""
        x = x + self._attention.o_proj(read)
        inside, mlp = self._between(x), self._mlp
        gate, up, down = mlp.gate_proj(inside), mlp.up_proj(inside), mlp.down_proj
        if torch.is_grad_enabled() and type(down) is nn.Linear and type(mlp.act_fn).__name__ in _SILU:
            return x + gated_down(gate, up, down.weight, down.bias)
        out: Tensor = x + down(mlp.act_fn(gate) * up)
        return out


def rotated(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Returns states [M, H, d] with rotary embeddings; cos and sin are [M, 1, d], the first half of sin negated."""
    return torch.addcmul(states * cos, states.roll(states.shape[-1] // 2, dims=-1), sin)


def _norm(module: Any) -> Callable[[Tensor], Tensor]:
    shape, epsilon = tuple(module.weight.shape), module.variance_epsilon

    def norm(x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return fused_rms_norm(x, module.weight, epsilon)
        out: Tensor = rms_norm(x.to(module.weight.dtype), shape, module.weight, epsilon)
        return out

    return norm


def _window(attention: Any) -> Any:
    """Returns the width of an attention layer's window, None where it sees everything before."""
    # Qwen's layers have their own; Mistral's go by the config.
    return getattr(attention, "sliding_window", getattr(attention.config, "sliding_window", None))


def fused_rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Returns weight * x / sqrt(mean(x^2) + epsilon), the mean over the last dimension; x is [..., D], weight [D]."""
    out: Tensor = _RmsNorm.apply(x.reshape(-1, x.shape[-1]), weight, epsilon)  # type: ignore[no-untyped-call]
    return out.view(x.shape)


def gated_down(gate: Tensor, up: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Returns (silu(gate) * up) weight^T + bias [M, D]; gate and up are [M, F], weight is [D, F], bias [D] or None.

    Only gate and up are kept for the gradient; silu and the product are computed again.
    """
    out: Tensor = _GatedDown.apply(gate, up, weight, bias)  # type: ignore[no-untyped-call]
    return out


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        inverse = torch.linalg.vecdot(x, x).div_(x.shape[-1]).add_(epsilon).rsqrt_()[:, None]
        ctx.save_for_backward(x, weight, inverse)
        out: Tensor = x * inverse
        return out.mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight, inverse = ctx.saved_tensors
        of_x, of_weight = torch.empty_like(x), torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for part in _parts(x):
            normal, g = x[part] * inverse[part], gradient[part]
            if of_weight is not None:
                of_weight += torch.linalg.vecdot(g, normal, dim=0)
            g = g * weight
            along = torch.linalg.vecdot(g, normal)[:, None].div_(x.shape[-1])
            torch.addcmul(g, normal, along, value=-1, out=of_x[part]).mul_(inverse[part])
        return of_x, of_weight, None


class _GatedDown(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(gate, up, weight)
        out = gate.new_empty(len(gate), len(weight))
        for part in _parts(gate):
            out[part] = linear(silu(gate[part]).mul_(up[part]), weight, bias)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        gate, up, weight = ctx.saved_tensors
        of_gate, of_up = torch.empty_like(gate), torch.empty_like(up)
        of_weight = torch.zeros_like(weight) if ctx.needs_input_grad[2] else None
        for part in _parts(gate):
            g, inner = gradient[part], silu(gate[part])
            of_product = g @ weight
            torch.mul(of_product, inner, out=of_up[part])
            if of_weight is not None:
                of_weight.addmm_(g.t(), inner.mul_(up[part]))
            torch.ops.aten.silu_backward.grad_input(of_product.mul_(up[part]), gate[part], grad_input=of_gate[part])
        return of_gate, of_up, of_weight, gradient.sum(dim=0) if ctx.needs_input_grad[3] else None


def _parts(rows: Tensor) -> Iterator[slice]:
    size = _ROWS if rows.device.type == "cpu" else len(rows)
    for start in range(0, len(rows), max(1, size)):
        yield slice(start, start + size)
