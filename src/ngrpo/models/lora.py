"""Low-rank adapters through peft: where they go, and the weights of the merged model."""

from __future__ import annotations

import json
import re
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ngrpo.config import LoraSettings
from ngrpo.errors import ConfigError, MissingDependencyError, error_line
from ngrpo.models.paths import resolve_model_path

ADAPTER_CONFIG = "adapter_config.json"
_ROUTER = re.compile(r"(^|[._])(gate|router)($|\.)|_router|router_")
"""Parts of a module's name that mark a router: gate, shared_expert_gate, router.layer; not gate_proj."""
_EXPERT_LAYERS = {"gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"}
_TIED_WARNING = r".*(tie_word_embeddings|tied).*"


def is_adapter(path: str | Path) -> bool:
    """Returns whether a folder holds an adapter and not a whole model."""
    return (Path(path) / ADAPTER_CONFIG).is_file()


def base_of_adapters(path: str) -> str:
    """Returns the whole model's path under an adapter folder, or under several on top of each other.

    Raises:
        ConfigError: when an adapter's config cannot be read.
    """
    seen = set()
    while is_adapter(path) and path not in seen:
        seen.add(path)
        try:
            config = json.loads((Path(path) / ADAPTER_CONFIG).read_text(encoding="utf-8"))
            path = resolve_model_path(str(config.get("base_model_name_or_path") or ""))
        except (OSError, ValueError, AttributeError) as error:
            raise ConfigError(f"{path}: {ADAPTER_CONFIG} cannot be read: {error_line(error)}") from None
    return path


def check_peft(what: str) -> None:
    """Raises MissingDependencyError when peft is not installed."""
    if find_spec("peft") is None:
        raise MissingDependencyError("peft", "peft", what)


def with_adapters(model: Any, lora: LoraSettings) -> Any:
    """Returns a model with the adapters of a [model.lora] table, in float32, the same in every run.

    Raises:
        ConfigError: when the model has no such layers.
    """
    from peft import LoraConfig, get_peft_model

    modules, parameters = (list(lora.target_modules), []) if lora.target_modules else default_targets(model)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=modules,
        target_parameters=parameters or None,
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", _TIED_WARNING)  # `untie_adapted` does what they ask for
            torch.manual_seed(0)  # half of the adapters' weights start at random: in every run at the same numbers
            adapted = get_peft_model(model, config)
    except ValueError as error:
        raise ConfigError(f"[model.lora] {error_line(error)}") from error
    untie_adapted(adapted)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapted


def default_targets(model: Any) -> tuple[list[str], list[str]]:
    """Returns the names of modules and of parameters that get an adapter by default.

    Every linear layer of attention and MLP, and the fused weights [experts, in, out] of a mixture of experts; no
    router, no embedding, no output head.
    """
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head and not _ROUTER.search(name)
    ]
    experts = [
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim == 3 and not name.endswith("bias") and not _is_convolution(model, name)
    ]
    if not experts:
        return linear, []
    # Beside fused experts, peft takes these names in target_modules for the experts' and drops the layers themselves.
    renamed = [name for name in linear if name.rpartition(".")[2] in _EXPERT_LAYERS]
    return [name for name in linear if name not in renamed], [*experts, *(f"{name}.weight" for name in renamed)]


def _is_convolution(model: Any, parameter: str) -> bool:
    return isinstance(model.get_submodule(parameter.rpartition(".")[0]), nn.modules.conv._ConvNd)


def untie_adapted(adapted: Any) -> None:
    """Gives the output head its own weights where an adapter changes one of two tied matrices alone."""
    plain = adapted.get_base_model()
    inputs, outputs = plain.get_input_embeddings(), plain.get_output_embeddings()
    if outputs is None or not (_is_adapted(inputs) or _is_adapted(outputs)):
        return
    embedding, head = _base_layer(inputs), _base_layer(outputs)
    if getattr(head, "weight", None) is not embedding.weight:
        return
    weight: Any = embedding.weight
    head.weight = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
    for config in (plain.config, plain.config.get_text_config(decoder=True)):
        config.tie_word_embeddings = False


def _is_adapted(module: Any) -> bool:
    return hasattr(module, "get_delta_weight") or hasattr(module, "modules_to_save")


def _base_layer(module: Any) -> Any:
    if hasattr(module, "get_base_layer"):
        return module.get_base_layer()
    return getattr(module, "original_module", module)


def merged_adapter(path: str, dtype: torch.dtype, load: Any) -> tuple[Any, Any]:
    """Returns the base model of an adapter folder with the adapter added to its weights, and its config's changes.

    Args:
        path: the adapter's folder.
        dtype: of the weights.
        load: gives the model of a folder or hub id in a precision, and its config's changes.
    """
    check_peft(f"the adapter in {path}")
    from peft import PeftConfig, PeftModel

    base = resolve_model_path(str(PeftConfig.from_pretrained(path).base_model_name_or_path or ""))
    # In float32, so that a small change is not lost before the sum is rounded.
    model, quiet = load(base, torch.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", _TIED_WARNING)
        adapted = PeftModel.from_pretrained(model, path)
        untie_adapted(adapted)
        merged = adapted.merge_and_unload().to(dtype).requires_grad_(True)
    merged.name_or_path = path  # what an adapter that is trained on top of it names as its base
    return merged, quiet
