"""The weights of a model with its adapters added, under the names that a checkpoint has."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from torch import Tensor

_LAYER = re.compile(r".*?\.\d+\.|")


def merged_weights(plain: Any) -> Iterator[tuple[str, Tensor]]:
    """Yields names and tensors of a model with the adapters added to their layers.

    The sum is a new tensor: adding to the weights in place and taking away again would move them by a rounding.

    Args:
        plain: the model without peft's wrapper; its layers may be peft's.
    """
    adapters: dict[int, list[Any]] = defaultdict(list)
    for module in plain.modules():
        if hasattr(module, "get_delta_weight"):
            adapted = module.get_param() if hasattr(module, "get_param") else module.get_base_layer().weight
            adapters[id(adapted)].append(module)
    for name, weight in (*plain.named_parameters(), *_saved_buffers(plain)):
        if "lora_" in name:
            continue
        tensor = weight.detach()
        if id(weight) in adapters:
            deltas = [module.get_delta_weight("default").float() for module in adapters[id(weight)]]
            tensor = (tensor.float() + sum(deltas)).to(weight.dtype)
        yield ".".join(part for part in name.split(".") if part != "base_layer"), tensor


def _saved_buffers(plain: Any) -> Iterator[tuple[str, Tensor]]:
    """Yields the buffers that a checkpoint holds, such as the correction bias of DeepSeek's router."""
    for prefix, module in plain.named_modules():
        for name, buffer in module.named_buffers(prefix, recurse=False):
            if name.rpartition(".")[2] not in module._non_persistent_buffers_set:
                yield name, buffer


def under_checkpoint_names(plain: Any, weights: Iterator[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Yields weights as a saved model has them: the fused experts of a layer one by one.

    Args:
        plain: the model without peft's wrapper.
        weights: its weights under the names of its parameters, layer after layer.
    """
    if not getattr(plain, "_weight_conversions", None):
        yield from weights
        return
    from transformers.core_model_loading import revert_weight_conversion

    for _, layer in groupby(weights, key=lambda item: _LAYER.match(item[0])[0]):  # type: ignore[index]
        yield from revert_weight_conversion(plain, dict(layer)).items()
