"""Causal language models: loading, adapters, and the passes that sampling and training need."""

from __future__ import annotations

from ngrpo.models.adapters import base_of_adapters
from ngrpo.models.language_model import STRUCTURE_ERRORS, LanguageModel, one_line, stop_tokens_of
from ngrpo.models.loading import load_language_model, load_tokenizer

__all__ = [
    "STRUCTURE_ERRORS",
    "LanguageModel",
    "base_of_adapters",
    "load_language_model",
    "load_tokenizer",
    "one_line",
    "stop_tokens_of",
]
