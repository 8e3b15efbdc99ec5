"""From a [model] table to a language model on its device."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from ngrpo.config import ModelSettings
from ngrpo.errors import ConfigError, error_line
from ngrpo.models.language_model import LanguageModel
from ngrpo.models.lora import check_peft, is_adapter, merged_adapter, with_adapters
from ngrpo.models.packed_attention import STRUCTURE_ERRORS
from ngrpo.models.paths import resolve_model_path
from ngrpo.models.quiet_config import QuietConfig

_LOAD_ERRORS = (OSError, SafetensorError, StrictDataclassError, *STRUCTURE_ERRORS)
"""What Hugging Face raises for files that are missing, torn, or say something impossible."""


_KERNELS = {
    "flash_attention_2": ("flash_attn", "pip install flash-attn --no-build-isolation"),
    "flash_attention_3": (
        "flash_attn_interface",
        "build it from https://github.com/Dao-AILab/flash-attention, hopper/",
    ),
}
"""Attention kernel -> module that it needs, and how that is installed."""


def load_tokenizer(path: str, shown: str, revision: str = "") -> Any:
    """Returns the tokenizer of a model folder or hub id.

    Args:
        path: where it is.
        shown: what a message calls the model.
        revision: of a hub id.

    Raises:
        ConfigError: when there is none that works.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision or "main", trust_remote_code=False)
    except _LOAD_ERRORS as error:
        raise ConfigError(f"model '{shown}' has no tokenizer that can be loaded: {error_line(error)}") from error
    # Where there are no files, Hugging Face makes a tokenizer of a few special tokens for some families.
    if not set(tokenizer.encode("1 2 a b", add_special_tokens=False)) - {tokenizer.unk_token_id}:
        raise ConfigError(f"model '{shown}' has no usable tokenizer: no tokens for digits and letters")
    return tokenizer


def load_language_model(settings: ModelSettings, *, for_training: bool) -> LanguageModel:
    """Returns the model of a `[model]` table on its device, without dropout.

    Args:
        settings: the table.
        for_training: keeps trained weights in float32 and adds adapters where asked for; otherwise the weights are
            stored in the computing precision.

    Raises:
        ConfigError: when there is no such model or device, or it is of a family that cannot be trained here.
        MissingDependencyError: when adapters are asked for and peft is not installed.
    """
    path = resolve_model_path(settings.path)
    device = _device(settings.device)
    dtype = _dtype(settings.dtype, device)
    lora = settings.lora if for_training else None
    if lora:
        check_peft("[model.lora]")
    stored = torch.float32 if for_training and lora is None else dtype
    model, quiet = _load(path, settings, stored)
    tokenizer = load_tokenizer(path, settings.path, settings.revision)
    if lora:
        model = with_adapters(model, lora)
    model.to(device)
    model.eval()
    coefficient = _router_aux_loss_coef(settings, model) if for_training else 0.0
    by_name = settings.attention not in {"", "sdpa"}
    loaded = LanguageModel(model, tokenizer, device, dtype, quiet, coefficient, reads_padded=by_name)
    if coefficient:
        with torch.no_grad(), loaded.autocast():
            loaded.routed_hidden_states(torch.arange(4, device=device)[None] % loaded.vocabulary_size)
    if for_training and settings.gradient_checkpointing:
        loaded.checkpoint_activations()
    loaded.check_head()
    return loaded


def _load(path: str, settings: ModelSettings, dtype: torch.dtype) -> tuple[Any, QuietConfig]:
    """Returns the model of a folder or hub id, and what was changed in its config."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    shown = settings.path
    _check_attention(settings.attention)
    try:
        return _model_at(path, dtype, settings.revision, settings.attention)
    except torch.OutOfMemoryError:
        raise
    except ImportError as error:
        raise ConfigError(f"[model] attention '{settings.attention}' cannot be used: {error_line(error)}") from error
    except _LOAD_ERRORS as error:
        if isinstance(error, ConfigError):
            raise ConfigError(f"model '{shown}': {error}") from error
        if Path(path).is_dir():
            raise ConfigError(f"model '{shown}' cannot be loaded: {error_line(error)}") from error
        raise ConfigError(
            f"'{shown}' is neither a local folder nor a loadable Hub model: {error_line(error)}"
        ) from error


def _check_attention(name: str) -> None:
    """Raises ConfigError for an attention kernel whose package is not installed."""
    module, install = _KERNELS.get(name, ("", ""))
    if module and find_spec(module) is None:
        raise ConfigError(f"[model] attention '{name}' needs the package {module}: {install}")


def _router_aux_loss_coef(settings: ModelSettings, model: Any) -> float:
    """Returns the weight of the router's load-balancing loss.

    Raises:
        ConfigError: for 'config' with a model whose config has none.
    """
    if settings.router_aux_loss_coef != "config":
        return settings.router_aux_loss_coef
    config = getattr(model, "base_model", model).config.get_text_config(decoder=True)
    found = getattr(config, "router_aux_loss_coef", None)
    if found is None:
        raise ConfigError(
            f"[model] router_aux_loss_coef is 'config', but the config of '{settings.path}' has no "
            "router_aux_loss_coef: give a number"
        )
    return float(found)


def _model_at(path: str, dtype: torch.dtype, revision: str = "", attention: str = "") -> tuple[Any, QuietConfig]:
    if is_adapter(path):
        return merged_adapter(path, dtype, partial(_model_at, attention=attention))
    return _from_pretrained(path, dtype, revision or "main", attention)


def _from_pretrained(path: str, dtype: torch.dtype, revision: str, attention: str) -> tuple[Any, QuietConfig]:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False)
    quiet = QuietConfig.of(config)
    model, report = AutoModelForCausalLM.from_pretrained(
        path,
        config=config,
        revision=revision,
        dtype=dtype,
        attn_implementation=attention or None,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # reported below
    )
    # Hugging Face fills what is missing with random numbers, which is meant for fine-tuning with a new head.
    if missing := sorted([*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])]):
        raise ConfigError(f"{len(missing)} of its weights are missing or of another shape, such as '{missing[0]}'")
    return model, quiet


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return torch.float32 if name == "float32" else torch.bfloat16


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros((), dtype=torch.float64, device=device).item()  # tokens are sampled in float64
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ConfigError(f"[model] device '{name}' cannot be used: {error_line(error)}") from None
    return device
