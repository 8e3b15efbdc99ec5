"""A causal language model with its tokenizer, ready to be sampled from and trained."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ngrpo.assets import resolve_model_path
from ngrpo.config import LoraSettings, ModelSettings
from ngrpo.errors import ConfigError, MissingDependencyError


@dataclass(eq=False)
class LanguageModel:
    """A Hugging Face causal LM, its tokenizer, and the precision it computes in.

    Trained weights are float32 whatever `dtype` says: at a learning rate of 1e-6 a bfloat16 weight would not move.
    With bfloat16 the forward passes run under autocast.
    """

    model: Any
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype

    @cached_property
    def plain(self) -> Any:
        """The model without peft's wrapper."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @cached_property
    def forward_arguments(self) -> frozenset[str]:
        """Names of the arguments that the model's forward takes."""
        return frozenset(inspect.signature(self.plain.forward).parameters)

    @cached_property
    def stop_tokens(self) -> frozenset[int]:
        """Tokens that end a completion: those of the generation config and of the tokenizer."""
        stops: set[int] = set()
        for source in (self.plain.generation_config, self.plain.config, self.tokenizer):
            value = getattr(source, "eos_token_id", None)
            stops.update(value if isinstance(value, list | tuple) else [] if value is None else [value])
        return frozenset(stops)

    @property
    def pad_token(self) -> int:
        """A token for padding; which one never matters, padding is masked."""
        pad = self.tokenizer.pad_token_id
        return int(pad) if pad is not None else min(self.stop_tokens, default=0)

    def autocast(self) -> AbstractContextManager[Any]:
        """Returns the context that forward passes run in."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def trained_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yields name and tensor of each parameter that training changes."""
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                yield name, parameter

    @contextmanager
    def starting_weights(self) -> Iterator[None]:
        """With adapters only: the model as it was before training, for the time of the context."""
        with self.model.disable_adapter():
            yield

    def hidden_states(self, input_ids: Tensor) -> Tensor:
        """Returns the decoder's last hidden states [B, L, D] of right-padded tokens [B, L].

        No attention mask is given: padding stands to the right, where causal attention never looks.
        """
        return self.plain.get_decoder()(input_ids=input_ids, use_cache=False).last_hidden_state  # type: ignore[no-any-return]

    @cached_property
    def head(self) -> Callable[[Tensor], Tensor]:
        """The function from hidden states to logits, with the scaling and soft cap that some families apply."""
        config, project = self.plain.config, self.plain.get_output_embeddings()
        scale = getattr(config, "logit_scale", None) or 1.0  # Cohere
        scale /= getattr(config, "logits_scaling", None) or 1.0  # Granite
        cap = getattr(config, "final_logit_softcapping", None)  # Gemma

        def logits(hidden: Tensor) -> Tensor:
            out = project(hidden) * scale if scale != 1.0 else project(hidden)
            return cap * torch.tanh(out / cap) if cap else out

        return logits

    @torch.no_grad()
    def check_head(self) -> None:
        """Compares our two-part forward pass with the model's own on a few tokens.

        Raises:
            ConfigError: when they differ: the family post-processes its logits in a way that is not known here.
        """
        vocabulary = self.plain.get_output_embeddings().weight.shape[0]
        tokens = torch.arange(8, device=self.device)[None] % vocabulary
        with self.autocast():
            theirs = self.plain(input_ids=tokens, use_cache=False).logits.float()
            ours = self.head(self.hidden_states(tokens)).float()
        tolerance = 1e-3 if self.dtype == torch.float32 else 5e-2
        if not torch.allclose(ours, theirs, atol=tolerance * (1.0 + float(theirs.abs().max())), rtol=tolerance):
            raise ConfigError(
                f"models of type '{self.plain.config.model_type}' are not supported: their logits are not those of "
                "the output head (scaled and soft-capped as the config says)"
            )


def load_language_model(settings: ModelSettings, *, for_training: bool) -> LanguageModel:
    """Returns the model of a `[model]` table on its device, without dropout.

    Args:
        settings: the table.
        for_training: keeps trained weights in float32 and adds adapters where asked for; otherwise the weights are
            stored in the computing precision.

    Raises:
        ConfigError: when there is no such model or device.
        MissingDependencyError: when adapters are asked for and peft is not installed.
    """
    path = resolve_model_path(settings.path)
    device = _device(settings.device)
    dtype = _dtype(settings.dtype, device)
    lora = settings.lora if for_training else None
    if lora and find_spec("peft") is None:
        raise MissingDependencyError("peft", "peft", "[model.lora]")
    stored = torch.float32 if for_training and lora is None else dtype
    model, tokenizer = _from_pretrained(path, settings.path, stored)
    if lora:
        model = _with_adapters(model, lora)
    model.to(device)
    if for_training and settings.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if lora:
            model.enable_input_require_grads()
        model.train()  # Hugging Face checkpoints activations in training mode only; dropout is 0 everywhere
    else:
        model.eval()
    loaded = LanguageModel(model, tokenizer, device, dtype)
    loaded.check_head()
    return loaded


def _from_pretrained(path: str, shown: str, dtype: torch.dtype) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        if (Path(path) / "adapter_config.json").is_file():
            return _merged_adapter(path, dtype), AutoTokenizer.from_pretrained(path)
        config = AutoConfig.from_pretrained(path)
        for name in [n for n, v in config.to_dict().items() if isinstance(v, float) and _is_dropout(n)]:
            setattr(config, name, 0.0)  # a ratio of two passes means nothing when each drops other units
        model = AutoModelForCausalLM.from_pretrained(path, config=config, dtype=dtype)
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"model '{shown}' cannot be loaded: {first_line}") from error
    return model, tokenizer


def _merged_adapter(path: str, dtype: torch.dtype) -> Any:
    """Returns the base model of an adapter folder with the adapter added to its weights."""
    if find_spec("peft") is None:
        raise MissingDependencyError("peft", "peft", f"the adapter in {path}")
    from peft import AutoPeftModelForCausalLM

    return AutoPeftModelForCausalLM.from_pretrained(path, dtype=dtype).merge_and_unload()


def _is_dropout(name: str) -> bool:
    return "dropout" in name or name.endswith("pdrop")


def _with_adapters(model: Any, lora: LoraSettings) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=list(lora.target_modules) or "all-linear",
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:
        raise ConfigError(f"[model.lora] {str(error).splitlines()[0]}") from error
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapted


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return torch.float32 if name == "float32" else torch.bfloat16


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"[model] device '{name}' cannot be used: {str(error).splitlines()[0]}") from None
    return device
