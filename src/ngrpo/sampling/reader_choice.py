"""Which reader a model is sampled with: the fastest whose logits are those of full passes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ngrpo.errors import ConfigError, error_line
from ngrpo.models import STRUCTURE_ERRORS, LanguageModel
from ngrpo.models.plain_decoder import PlainDecoder, has_hooks
from ngrpo.sampling.cached_forward import CachedReader, Reader
from ngrpo.sampling.plain_reader import PlainReader

_PROMPTS = (range(3), range(1, 7))
_CONTINUATION = range(4, 6)
"""Tokens that the readers are tried on."""


class ReaderChoice:
    """Makes the readers of a model.

    Args:
        language_model: the model; its weights may change afterwards, its structure not.

    Raises:
        ConfigError: when reading with a cache gives other logits than full passes: samples would be wrong.
    """

    def __init__(self, language_model: LanguageModel) -> None:
        self._lm = lm = language_model
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
        self._decoder = decoder if decoder is not None and _is_exact(lm, decoder, wanted) else None

    def reader(self) -> Reader:
        """Returns a reader for one batch."""
        if self._decoder is None or self._decoder.is_watched or any(map(has_hooks, (self._lm.model, self._lm.plain))):
            return CachedReader(self._lm)
        return PlainReader(self._lm, self._decoder)


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
