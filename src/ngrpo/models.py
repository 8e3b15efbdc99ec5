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
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor, nn

from ngrpo.assets import resolve_model_path
from ngrpo.config import LoraSettings, ModelSettings
from ngrpo.errors import ConfigError, MissingDependencyError

STRUCTURE_ERRORS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a model of an unexpected structure raises where ours expects another one."""

_LOAD_ERRORS = (OSError, SafetensorError, StrictDataclassError, *STRUCTURE_ERRORS)
"""What Hugging Face raises for files that are missing, torn, or say something impossible."""


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
    def model_type(self) -> str:
        """The family's name, such as 'qwen2'."""
        return str(self.plain.config.model_type)

    @cached_property
    def forward_arguments(self) -> frozenset[str]:
        """Names of the arguments that the model's forward takes."""
        return frozenset(inspect.signature(self.plain.forward).parameters)

    @cached_property
    def stop_tokens(self) -> frozenset[int]:
        """Tokens that end a completion: those of the generation config, of the config and of the tokenizer."""
        return stop_tokens_of(self.plain.generation_config, self._text_config, self.tokenizer)

    @cached_property
    def vocabulary_size(self) -> int:
        """Number of tokens that the model has an embedding for."""
        return int(self.plain.get_input_embeddings().weight.shape[0])

    @cached_property
    def max_positions(self) -> int | None:
        """Longest sequence where positions are looked up in a table; None where they are computed (rotary, ALiBi)."""
        limit = getattr(self._text_config, "max_position_embeddings", None)
        if not isinstance(limit, int):
            return None
        tensors = [*self.plain.named_parameters(), *self.plain.named_buffers()]
        # Tables are called wpe, embed_positions, position_embeddings, ...; some hold a few rows more than they can use.
        rows = [len(tensor) for name, tensor in tensors if tensor.ndim == 2 and ("wpe" in name or "pos" in name)]
        return limit if any(limit <= n <= limit + 8 for n in rows) else None

    @cached_property
    def _text_config(self) -> Any:
        """The config of the text decoder: a part of the config in models that also see or hear."""
        return self.plain.config.get_text_config(decoder=True)

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

    @torch.no_grad()
    def checkpoint_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yields names and tensors as a checkpoint of the whole model has them, with adapters added to their layers.

        The sum is a new tensor: adding to the weights in place and taking away again would move them by a rounding.
        """
        adapted = {name: module for name, module in self.plain.named_modules() if hasattr(module, "get_delta_weight")}
        for name, parameter in self.plain.named_parameters():
            if "lora_" in name:
                continue
            layer, _, kind = name.rpartition(".base_layer.")
            if kind == "weight" and layer in adapted:
                delta = adapted[layer].get_delta_weight("default")
                yield f"{layer}.weight", (parameter.float() + delta.float()).to(parameter.dtype)
            else:
                yield name.replace(".base_layer.", "."), parameter.detach()

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Without gradients, in the computing precision, and in evaluation mode: checkpointed activations use no cache.

        One context for many passes: autocast then casts each weight once, not once per pass.
        """
        training = self.model.training
        if training:
            self.model.eval()
        try:
            with torch.no_grad(), self.autocast():
                yield
        finally:
            if training:
                self.model.train()

    @contextmanager
    def starting_weights(self) -> Iterator[None]:
        """With adapters only: the model as it was before training, for the time of the context."""
        with self.model.disable_adapter():
            yield

    def hidden_states(self, input_ids: Tensor) -> Tensor:
        """Returns the decoder's last hidden states [B, L, D] of right-padded tokens [B, L].

        No attention mask is given: padding stands to the right, where causal attention never looks.
        """
        decoder = self.plain.get_decoder()
        hidden: Tensor = decoder(input_ids=input_ids, use_cache=False).last_hidden_state
        return hidden

    @cached_property
    def head(self) -> Callable[[Tensor], Tensor]:
        """The function from hidden states to logits, with the scaling and soft cap that some families apply."""
        config, project = self._text_config, self.plain.get_output_embeddings()
        scale = getattr(config, "logit_scale", None) or 1.0  # Cohere
        scale /= getattr(config, "logits_scaling", None) or 1.0  # Granite
        cap = getattr(config, "final_logit_softcapping", None)  # Gemma

        def logits(hidden: Tensor) -> Tensor:
            out: Tensor = project(hidden) * scale if scale != 1.0 else project(hidden)
            return torch.tanh(out / cap) * cap if cap else out

        return logits

    @torch.no_grad()
    def check_head(self) -> None:
        """Compares our two-part forward pass with the model's own on a few tokens.

        Raises:
            ConfigError: when they differ: the family post-processes its logits in a way that is not known here.
        """
        try:
            tokens = torch.arange(8, device=self.device)[None] % self.vocabulary_size
            with self.autocast():
                theirs = self.plain(input_ids=tokens, use_cache=False).logits.float()
                ours = self.head(self.hidden_states(tokens)).float()
        except torch.OutOfMemoryError:
            raise
        except STRUCTURE_ERRORS as error:
            raise ConfigError(f"models of type '{self.model_type}' are not supported: {one_line(error)}") from error
        if theirs.isnan().any():
            raise ConfigError("the model's weights are broken: its logits are not finite")
        tolerance = 1e-4 if self.dtype == torch.float32 else 2e-2
        size = float(theirs[theirs.isfinite()].abs().mean())
        if ours.shape != theirs.shape or not torch.allclose(ours, theirs, atol=tolerance * size, rtol=tolerance):
            raise ConfigError(
                f"models of type '{self.model_type}' are not supported: their logits are not those of the output head "
                "(scaled and soft-capped as the config says)"
            )


def stop_tokens_of(*sources: Any) -> frozenset[int]:
    """Returns the end-of-sequence tokens that configs and a tokenizer name, one or several each."""
    stops: set[int] = set()
    for source in sources:
        value = getattr(source, "eos_token_id", None)
        stops.update(value if isinstance(value, list | tuple) else [] if value is None else [value])
    return frozenset(stops)


def load_tokenizer(path: str, shown: str) -> Any:
    """Returns the tokenizer of a model folder or hub id.

    Args:
        path: where it is.
        shown: what a message calls the model.

    Raises:
        ConfigError: when there is none that works.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except _LOAD_ERRORS as error:
        raise ConfigError(f"model '{shown}' has no tokenizer that can be loaded: {one_line(error)}") from error
    # Where there are no files, Hugging Face makes a tokenizer of a few special tokens for some families.
    if not set(tokenizer.encode("1 2 a b", add_special_tokens=False)) - {tokenizer.unk_token_id}:
        raise ConfigError(f"model '{shown}' has no tokenizer that can be loaded: it knows no digit and no letter")
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
    if lora and find_spec("peft") is None:
        raise MissingDependencyError("peft", "peft", "[model.lora]")
    stored = torch.float32 if for_training and lora is None else dtype
    model, tokenizer = _load(path, settings.path, stored)
    if lora:
        model = _with_adapters(model, lora)
    model.to(device)
    if for_training and settings.gradient_checkpointing:
        _checkpoint_activations(model)
    else:
        model.eval()
    loaded = LanguageModel(model, tokenizer, device, dtype)
    loaded.check_head()
    return loaded


def one_line(error: BaseException) -> str:
    """Returns an error of another library as one line of bounded length."""
    text = " ".join(str(error).split())
    if not text or isinstance(error, ArithmeticError | AttributeError | LookupError | TypeError):
        text = f"{type(error).__name__}: {text}"  # a bare key or name says nothing alone
    return text if len(text) <= 300 else text[:297] + "..."


def _load(path: str, shown: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """Returns model and tokenizer of a folder or hub id."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    where = f"model '{shown}'" if Path(path).is_dir() else f"'{shown}' is no folder here, and as a hub model it"
    try:
        if (Path(path) / "adapter_config.json").is_file():
            model = _merged_adapter(path, dtype)
        else:
            model = _from_pretrained(path, dtype)
    except torch.OutOfMemoryError:
        raise
    except _LOAD_ERRORS as error:
        if isinstance(error, ConfigError):
            raise ConfigError(f"model '{shown}': {error}") from error
        raise ConfigError(f"{where} cannot be loaded: {one_line(error)}") from error
    return model, load_tokenizer(path, shown)


def _from_pretrained(path: str, dtype: torch.dtype) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    _remove_noise(config)
    model, report = AutoModelForCausalLM.from_pretrained(
        path,
        config=config,
        dtype=dtype,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # reported below
    )
    # Hugging Face fills what is missing with random numbers, which is meant for fine-tuning with a new head.
    if missing := sorted([*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])]):
        raise ConfigError(f"{len(missing)} of its weights are missing or of another shape, such as '{missing[0]}'")
    return model


def _remove_noise(config: Any) -> None:
    """Sets every dropout and jitter of a config to 0: a ratio of passes that drop different units means nothing."""
    for part in [config, *(getattr(config, name, None) for name in getattr(config, "sub_configs", {}))]:
        if part is None:
            continue
        for name, value in part.to_dict().items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and value and ("drop" in name or "jitter" in name):
                setattr(part, name, type(value)(0))


def _merged_adapter(path: str, dtype: torch.dtype) -> Any:
    """Returns the base model of an adapter folder with the adapter added to its weights."""
    if find_spec("peft") is None:
        raise MissingDependencyError("peft", "peft", f"the adapter in {path}")
    from peft import PeftConfig, PeftModel

    base = resolve_model_path(str(PeftConfig.from_pretrained(path).base_model_name_or_path or ""))
    is_adapter = (Path(base) / "adapter_config.json").is_file()
    # In float32, so that a small change is not lost before the sum is rounded.
    model = _merged_adapter(base, torch.float32) if is_adapter else _from_pretrained(base, torch.float32)
    merged = PeftModel.from_pretrained(model, path).merge_and_unload().to(dtype).requires_grad_(True)
    merged.name_or_path = path  # what an adapter that is trained on top of it names as its base
    return merged


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
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # half of the adapters' weights start at random: in every run at the same numbers
            adapted = get_peft_model(model, config)
    except ValueError as error:
        raise ConfigError(f"[model.lora] {one_line(error)}") from error
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapted


def _checkpoint_activations(model: Any) -> None:
    try:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    except ValueError as error:
        raise ConfigError(f"[model] gradient_checkpointing: {one_line(error)}") from error
    model.train()  # Hugging Face checkpoints activations in training mode only; dropout is 0 everywhere


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return torch.float32 if name == "float32" else torch.bfloat16


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros((), dtype=torch.float64, device=device).item()  # tokens are drawn in float64
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ConfigError(f"[model] device '{name}' cannot be used: {one_line(error)}") from None
    return device
