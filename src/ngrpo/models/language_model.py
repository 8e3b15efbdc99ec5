"""A causal language model with its tokenizer, ready to be sampled from and trained."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ngrpo.errors import ConfigError, error_line
from ngrpo.fused_loss import LinearHead
from ngrpo.models.merging import merged_weights, under_checkpoint_names
from ngrpo.models.packed_attention import STRUCTURE_ERRORS, packed_attention_of, plain_hidden_states, reads_packs
from ngrpo.models.packing import Packing
from ngrpo.models.plain_decoder import PlainDecoder
from ngrpo.models.quiet_config import QuietConfig


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
    quiet: QuietConfig = field(default_factory=QuietConfig)
    """What was switched off in the model's config."""
    router_aux_loss_coef: float = 0.0
    """Weight of the router's load-balancing loss in an update."""
    reads_padded: bool = False
    """Never read packed tokens: the attention kernel was named."""

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

    @property
    def facts(self) -> list[str]:
        """What a run should say about the model before its first step."""
        facts = []
        if self.router_aux_loss_coef:
            facts.append(f"mixture of experts: load-balancing loss of the router, weight {self.router_aux_loss_coef:g}")
        elif hasattr(self._text_config, "output_router_logits"):
            facts.append(
                "mixture of experts: the router's auxiliary loss (load balancing) is not trained; see [model] "
                "router_aux_loss_coef"
            )
        if self.reads_padded:
            facts.append("attention kernel by name: updates read prompts once per completion, with padding")
        elif not self.packs:
            facts.append(
                f"attention of '{self.model_type}' is more than causal: updates read prompts once per completion, with "
                "padding, not once per group"
            )
        return facts

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
        """Yields names and tensors as a checkpoint of the whole model has them, with adapters added to their layers."""
        yield from under_checkpoint_names(self.plain, merged_weights(self.plain))

    @property
    def hub_commit(self) -> str:
        """The commit of the hub model that was loaded, "" for a local folder."""
        return str(getattr(self.plain.config, "_commit_hash", None) or "")

    @property
    def is_tied(self) -> bool:
        """True where the output head is the embedding; false after an adapter on one of the two."""
        return bool(self._text_config.tie_word_embeddings)

    def save(self, folder: Path) -> None:
        """Writes the model, or its adapters alone, and the tokenizer; config.json as it was before training."""
        # peft would add the base model's embeddings to an adapter on one of them.
        options = {"save_embedding_layers": False} if self.model is not self.plain else {}
        with self.quiet.original(self.plain.config):
            self.model.save_pretrained(folder, **options)
        self.tokenizer.save_pretrained(folder)

    def original_config(self) -> Any:
        """Returns a copy of the model's config, as it was before training."""
        with self.quiet.original(self.plain.config):
            return copy.deepcopy(self.plain.config)

    def checkpoint_activations(self) -> None:
        """Recomputes activations in the backward pass.

        Raises:
            ConfigError: when the family does not support it.
        """
        try:
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        except ValueError as error:
            raise ConfigError(f"[model] gradient_checkpointing: {error_line(error)}") from error
        # Hugging Face checkpoints layers in training mode. Routers and attention stay in evaluation mode: Phi-MoE's
        # router samples its experts at random in training mode.
        for module in self.plain.modules():
            module.training = getattr(module, "gradient_checkpointing", False)
        self.model.training = self.plain.training = True

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Without gradients, in the computing precision, and in evaluation mode: checkpointed activations use no cache.

        One context for many passes: autocast then casts each weight once, not once per pass.
        """
        training = [module for module in self.model.modules() if module.training]
        if training:
            self.model.eval()
        try:
            with torch.no_grad(), self.autocast():
                yield
        finally:
            for module in training:
                module.training = True

    @contextmanager
    def starting_weights(self) -> Iterator[None]:
        """With adapters only: the model as it was before training, for the time of the context."""
        with self.model.disable_adapter():
            yield

    def hidden_states(self, input_ids: Tensor, packing: Packing | None = None) -> Tensor:
        """Returns the decoder's last hidden states [B, L, D] of right-padded tokens [B, L].

        No attention mask is given: padding stands to the right, where causal attention never looks.

        Args:
            input_ids: [B, L], or packed [1, M].
            packing: how they are packed; only inside `packed_attention`, and where the model `packs`.
        """
        if packing is not None and (decoder := self._plain_packs) is not None:
            recompute = torch.is_grad_enabled() and getattr(self.plain, "is_gradient_checkpointing", False)
            return plain_hidden_states(decoder, input_ids[0], packing, recompute=recompute)[None]
        how = {} if packing is None else {"position_ids": packing.position_ids, "packing": packing}
        hidden: Tensor = self.plain.get_decoder()(input_ids=input_ids, use_cache=False, **how).last_hidden_state
        return hidden

    @cached_property
    def plain_decoder(self) -> PlainDecoder | None:
        """The model's decoder without the work of a general forward pass, None where its family has none."""
        return PlainDecoder.of(self.plain.get_decoder())

    @property
    def _plain_packs(self) -> PlainDecoder | None:
        """The plain decoder where it reads packs: in float32, and without a hook that would not be called."""
        decoder = self.plain_decoder
        return None if decoder is None or self.dtype != torch.float32 or decoder.is_watched else decoder

    def routed_hidden_states(self, input_ids: Tensor, packing: Packing | None = None) -> tuple[Tensor, list[Tensor]]:
        """Returns hidden states as `hidden_states` does, and of each mixture of experts its router's logits [B * L, E].

        Raises:
            ConfigError: when the family does not give them.
        """
        how = {} if packing is None else {"position_ids": packing.position_ids, "packing": packing}
        out = self.plain.get_decoder()(input_ids=input_ids, use_cache=False, output_router_logits=True, **how)
        logits = getattr(out, "router_logits", None)
        if not logits:
            raise ConfigError(
                f"[model] router_aux_loss_coef is set, but models of type '{self.model_type}' do not give "
                "the logits of a router"
            )
        return out.last_hidden_state, [layer.reshape(-1, layer.shape[-1]) for layer in logits if layer is not None]

    @property
    def experts_per_token(self) -> int:
        """How many experts a token is sent to."""
        return int(self._text_config.num_experts_per_tok)

    def packed_attention(self, packed: bool) -> AbstractContextManager[None]:
        """Returns the context for reading packed tokens, and for their gradient; of no effect where not `packed`."""
        return packed_attention_of(self.plain.get_decoder().config) if packed else nullcontext()

    @cached_property
    def packs(self) -> bool:
        """True where prompts and completions can be read as a pack: an exact test on a few tokens."""
        return not self.reads_padded and reads_packs(self)

    @cached_property
    def head(self) -> Callable[[Tensor], Tensor]:
        """The function from hidden states to logits, with the scaling and soft cap that some families apply."""
        config, project = self._text_config, self.plain.get_output_embeddings()
        scale = getattr(config, "logit_scale", None) or 1.0  # Cohere
        scale /= getattr(config, "logits_scaling", None) or 1.0  # Granite
        cap = getattr(config, "final_logit_softcapping", None) or None  # Gemma
        if type(project) is nn.Linear:  # not one with an adapter
            return LinearHead(project.weight, project.bias, scale, cap)

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
            raise ConfigError(f"models of type '{self.model_type}' are not supported: {error_line(error)}") from error
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
