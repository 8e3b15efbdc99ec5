"""Reading with a key-value cache: prompts of any lengths at once, each only once, then one token per row at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngrpo.models import LanguageModel
from ngrpo.sampling.growing_layer import BLOCK_TOKENS, RowMoves, keep_rows, make_growing


class Reader(Protocol):
    """The rows of a batch as the model has read them so far.

    Call `read_prompts` once, then `read` with one token per row; `keep` drops, repeats or reorders rows in between.
    """

    def read_prompts(self, prompts: Sequence[NDArray[np.int64]], copies: Sequence[int], max_new_tokens: int) -> Tensor:
        """Returns the logits [B, V] after the prompts, each so many times; it is read once, padded on the left."""

    def read(self, tokens: Tensor) -> Tensor:
        """Returns the logits [B, V] after one more token [B] of each row."""

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Makes these rows [B'] the batch; the fewer of them stand elsewhere than before, the less is copied."""


class ReadPrompts(NamedTuple):
    """Logits [P, V] after P prompts, the model's own cache, lengths [P], and a mask [P, L] where these differ."""

    logits: Tensor
    cache: Any
    lengths: NDArray[np.int64]
    mask: Tensor | None


def read_prompts(lm: LanguageModel, prompts: Sequence[NDArray[np.int64]]) -> ReadPrompts:
    """Reads prompts in one pass, padded on the left."""
    lengths = np.array([len(prompt) for prompt in prompts])
    longest = int(lengths.max())
    ids = np.zeros((len(prompts), longest), dtype=np.int64)
    for row, prompt in zip(ids, prompts, strict=True):
        row[longest - len(prompt) :] = prompt
    columns = np.arange(longest) - (longest - lengths)[:, None]
    # Without padding there is nothing to mask, and transformers need not look at a mask at each token.
    mask = torch.from_numpy((columns >= 0).astype(np.int64)).to(lm.device) if columns.min() < 0 else None
    positions = torch.from_numpy(columns.clip(min=0)).to(lm.device)
    # Without a cache at first: the model then makes the kind that it needs.
    logits, cache = cached_forward(lm, torch.from_numpy(ids).to(lm.device), positions, mask, None)
    return ReadPrompts(logits, cache, lengths, mask)


def cached_forward(
    lm: LanguageModel, input_ids: Tensor, positions: Tensor, mask: Tensor | None, cache: Any
) -> tuple[Tensor, Any]:
    """Returns the logits [B, V] after the tokens [B, L] at these positions, and the cache with them."""
    optional = {"position_ids": positions, "logits_to_keep": 1}
    known = {name: value for name, value in optional.items() if name in lm.forward_arguments}
    out = lm.model(input_ids=input_ids, attention_mask=mask, past_key_values=cache, use_cache=True, **known)
    return out.logits[:, -1], out.past_key_values


class CachedReader:
    """A `Reader` for every family: the model's own forward pass."""

    def __init__(self, language_model: LanguageModel) -> None:
        self._lm = language_model
        self._cache: Any = None
        self._length = 0
        self._mask: Tensor | None = None

    def read_prompts(self, prompts: Sequence[NDArray[np.int64]], copies: Sequence[int], max_new_tokens: int) -> Tensor:
        """See `Reader.read_prompts`."""
        logits, self._cache, lengths, self._mask = read_prompts(self._lm, prompts)
        self._length = int(lengths.max())
        make_growing(self._cache, self._length + max_new_tokens)
        self._next_positions = torch.from_numpy(lengths).to(self._lm.device)[:, None]
        rows = np.arange(len(prompts)).repeat(copies)
        self.keep(rows)
        return logits[torch.from_numpy(rows).to(self._lm.device)]

    def read(self, tokens: Tensor) -> Tensor:
        """See `Reader.read`."""
        self._length += 1
        if self._mask is not None and self._length > self._mask.shape[1]:
            # Longer than what is read: a longer view of it costs nothing, a longer copy at every token would.
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), BLOCK_TOKENS)], dim=1)
        mask = None if self._mask is None else self._mask[:, : self._length]
        logits, self._cache = cached_forward(self._lm, tokens[:, None], self._next_positions, mask, self._cache)
        self._next_positions = self._next_positions + 1
        return logits

    def keep(self, rows: NDArray[np.int64]) -> None:
        """See `Reader.keep`."""
        places = RowMoves.of(rows, len(self._next_positions), self._lm.device)
        keep_rows(self._cache, places)
        self._next_positions = self._next_positions[places.rows]
        if self._mask is not None:
            self._mask = self._mask[places.rows]
