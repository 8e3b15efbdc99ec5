"""Parts of a layer whose gradient takes less memory, and fewer passes over it, than that of their single operations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear, silu

_ROWS = 512
"""Rows that are worked on at a time on a CPU: what is computed in between stays in its cache."""


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
