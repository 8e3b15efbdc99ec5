"""Weights of linear layers in the layout of the processor's kernels: a product of few rows need not pack them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_FEWEST_WEIGHTS = 1 << 16
"""A layer with fewer is as fast without."""
_MOST_BYTES = 1 << 30
"""Memory for the copies; layers after that stay as they are."""


def packable_layers(model: nn.Module, dtype: torch.dtype) -> list[nn.Linear]:
    """Returns the linear layers of a model that `prepacked` makes faster, the largest first.

    Layers of other classes, such as one with an adapter, are left out, and so are models on other devices.

    Args:
        model: any module.
        dtype: what it computes in.
    """
    layers = [m for m in model.modules() if type(m) is nn.Linear and m.weight.numel() >= _FEWEST_WEIGHTS]
    # A weight that is no plain tensor, such as a quantised one, has kernels of its own.
    layers = [m for m in layers if m.weight.device.type == "cpu" and type(m.weight) is nn.Parameter]
    # The output head is usually the largest, and gains most.
    return sorted(layers, key=lambda layer: -layer.weight.numel()) if layers and _is_supported(dtype) else []


@contextmanager
def prepacked(layers: Sequence[nn.Linear], dtype: torch.dtype) -> Iterator[None]:
    """Within the context, these layers compute with packed copies of their weights, as far as there is room for them.

    Results are those of the layers in `dtype`, to the last digits in float32. Weights must not change within, and
    nothing has a gradient. Hooks are called as before.

    Args:
        layers: see `packable_layers`.
        dtype: what they compute in; autocast does not see them.
    """
    packed: dict[nn.Linear, Callable[[Tensor], Tensor]] = {}
    left = _MOST_BYTES
    for layer in layers:
        left -= layer.weight.numel() * dtype.itemsize
        # Someone else's own forward, as accelerate sets it, stays.
        if left >= 0 and "forward" not in vars(layer):
            packed[layer] = _forward_of(layer, dtype)
    for layer, forward in packed.items():
        vars(layer)["forward"] = forward
    try:
        yield
    finally:
        for layer in packed:
            del vars(layer)["forward"]


def _is_supported(dtype: torch.dtype) -> bool:
    """True where this build of torch and this processor have the kernels."""
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not available or not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def _forward_of(layer: nn.Linear, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().to(dtype))
    bias = None if layer.bias is None else layer.bias.detach().to(dtype)

    def forward(x: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x.to(dtype), weight, bias, "none", [], "")
        return out

    return forward
