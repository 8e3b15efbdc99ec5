"""Causal language models: loading, LoRA adapters, and the passes that sampling and training need."""

from typing import TYPE_CHECKING

from ngrpo.lazy import lazy_names

if TYPE_CHECKING:
    from ngrpo.models.language_model import LanguageModel, stop_tokens_of
    from ngrpo.models.load_model import load_language_model, load_tokenizer
    from ngrpo.models.lora import base_of_adapters
    from ngrpo.models.packed_attention import STRUCTURE_ERRORS

__all__ = [
    "STRUCTURE_ERRORS",
    "LanguageModel",
    "base_of_adapters",
    "load_language_model",
    "load_tokenizer",
    "stop_tokens_of",
]

__getattr__ = lazy_names(
    __name__,
    {
        **dict.fromkeys(("LanguageModel", "stop_tokens_of"), "ngrpo.models.language_model"),
        "STRUCTURE_ERRORS": "ngrpo.models.packed_attention",
        **dict.fromkeys(("load_language_model", "load_tokenizer"), "ngrpo.models.load_model"),
        "base_of_adapters": "ngrpo.models.lora",
    },
)
