from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from ngrpo.models.fused_layers import fused_rms_norm, gated_down

EPSILON = 1e-5


def plain_norm(x: Tensor, weight: Tensor) -> Tensor:
    return weight * x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + EPSILON)


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@pytest.mark.parametrize("shape", [(1, 4), (7, 6), (5, 3, 8), (1100, 4)])
def test_norm_and_its_gradient(shape: tuple[int, ...]) -> None:
    x, weight = random(*shape, seed=0), random(shape[-1], seed=1)
    ours, theirs = fused_rms_norm(x, weight, EPSILON), plain_norm(x, weight)
    assert torch.allclose(ours, theirs)
    upstream = random(*shape, seed=2).detach()
    for a, b in zip(*(torch.autograd.grad(y, (x, weight), upstream) for y in (ours, theirs)), strict=True):
        assert torch.allclose(a, b)


@pytest.mark.parametrize("rows", [1, 9, 513, 1100])
@pytest.mark.parametrize("with_bias", [False, True])
def test_gated_product_and_its_gradient(rows: int, with_bias: bool) -> None:
    gate, up, weight = random(rows, 6, seed=0), random(rows, 6, seed=1), random(4, 6, seed=2)
    bias = random(4, seed=3) if with_bias else None
    ours, theirs = gated_down(gate, up, weight, bias), linear(silu(gate) * up, weight, bias)
    assert torch.allclose(ours, theirs)
    upstream = random(rows, 4, seed=4).detach()
    inputs = [x for x in (gate, up, weight, bias) if x is not None]
    for a, b in zip(*(torch.autograd.grad(y, inputs, upstream) for y in (ours, theirs)), strict=True):
        assert torch.allclose(a, b)


def test_frozen_weights_get_no_gradient() -> None:
    gate, up, weight = random(3, 6, seed=0), random(3, 6, seed=1), random(4, 6, seed=2).detach()
    gated_down(gate, up, weight, None).sum().backward()
    assert gate.grad is not None
    assert weight.grad is None
    x, scale = random(3, 6, seed=0), random(6, seed=1).detach()
    fused_rms_norm(x, scale, EPSILON).sum().backward()
    assert x.grad is not None
    assert scale.grad is None


def test_gradients_pass_the_numerical_check() -> None:
    assert torch.autograd.gradcheck(
        lambda x, w: fused_rms_norm(x, w, EPSILON), (random(3, 4, seed=0), random(4, seed=1))
    )
    arguments = random(3, 5, seed=0), random(3, 5, seed=1), random(2, 5, seed=2), random(2, seed=3)
    assert torch.autograd.gradcheck(gated_down, arguments)
