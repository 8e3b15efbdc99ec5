"""Whether a model can be sampled from, and by plain steps: readers tried on a few tokens against full passes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ngrpo.errors import ConfigError, error_line
from ngrpo.models import STRUCTURE_ERRORS, LanguageModel
from ngrpo.models.plain_decoder import PlainDecoder
from ngrpo.sampling.cached_forward import CachedReader, Reader
from ngrpo.sampling.plain_reader import PlainReader

_PROMPTS = (range(3), range(1, 7))
_CONTINUATION = range(4, 6)
"""Tokens that the readers are tried on."""


def exact_decoder(lm: LanguageModel) -> PlainDecoder | None:
    """Returns the decoder whose plain steps sample from a model; None where its own forward pass does.

    Raises:
        ConfigError: when reading with a cache gives other logits than full passes: samples would be wrong.
    """
    try:
        general, wanted = _logits_after(lm, CachedReader(lm)), _logits_of_full_passes(lm)
    except torch.OutOfMemoryError:
        raise
    except STRUCTURE_ERRORS as error:
        raise ConfigError(
            f"models of type '{lm.model_type}' cannot be sampled from: reading with a key-value cache failed: "
            + error_line(error)
        ) from error
    # Half precision rounds the two differently, and may route a token to other experts.
    if not _near(general, wanted, 1e-3 if general.dtype == torch.float32 else 0.2):
        raise ConfigError(
            f"models of type '{lm.model_type}' cannot be sampled from: with a key-value cache and padded prompts "
            "their logits are not those of a full pass"
        )
    decoder = lm.plain_decoder
    return decoder if decoder is not None and _is_exact(lm, decoder, wanted) else None


def _is_exact(lm: LanguageModel, decoder: PlainDecoder, wanted: Tensor) -> bool:
    try:
        ours = _logits_after(lm, PlainReader(lm, decoder))
    except torch.OutOfMemoryError:
        raise
    except STRUCTURE_ERRORS:
        return False
    return _near(ours, wanted, 1e-5 if ours.dtype == torch.float32 else 0.05)


def _logits_after(lm: LanguageModel, reader: Reader) -> Tensor:
    """Returns the logits [2, V] of the prompts and their continuation, read by a reader with two rows a prompt."""
    with lm.inference():
        reader.read_prompts([np.array(tokens) % lm.vocabulary_size for tokens in _PROMPTS], [2, 2], len(_CONTINUATION))
        reader.keep(np.array([1, 2]))  # one row of each prompt
        for token in _CONTINUATION:
            logits = reader.read(torch.full((2,), token % lm.vocabulary_size, device=lm.device))
    return logits


def _logits_of_full_passes(lm: LanguageModel) -> Tensor:
    with lm.inference():
        rows = [torch.tensor([[*tokens, *_CONTINUATION]], device=lm.device) % lm.vocabulary_size for tokens in _PROMPTS]
        return torch.cat([lm.plain(input_ids=ids, use_cache=False).logits[:, -1] for ids in rows])


def _near(ours: Tensor, theirs: Tensor, tolerance: float) -> bool:
    size = theirs.float().std() + theirs.float().abs().mean()
    return bool((ours - theirs).float().abs().mean() <= tolerance * size)  # false for NaN
