"""Reading with a key-value cache: prompts of any lengths at once, each only once, then one token per row at a time.

The cache is written in place: it grows in blocks, and rows leave it one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import DynamicLayer

from ngrpo.models import LanguageModel

BLOCK_TOKENS = 128
"""Columns by which a full cache grows: copying it at every token would cost more than the model's own work."""


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


class GrowingLayer(DynamicLayer):  # type: ignore[misc] # transformers has no type information
    """The keys and values [B, H, T, D] of one layer, views of buffers with room for more tokens.

    Args:
        keys: those of the prompts, one row for each of them.
        values: likewise.
        limit: tokens that a row can have at most; no room is made for more.
    """

    def __init__(self, keys: Tensor, values: Tensor, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True
        self._room = (keys, values)
        self.keys: Tensor = keys
        self.values: Tensor = values

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Adds the states [B, H, N, D] of further tokens and returns all of them; no copy while there is room."""
        length = self.keys.shape[-2]
        end = length + key_states.shape[-2]
        if end > self._room[0].shape[-2]:
            width = max(end, min(self._limit, -(-end // BLOCK_TOKENS) * BLOCK_TOKENS))
            self._room = (widened(self.keys, width), widened(self.values, width))
        rows = self.keys.shape[0]
        self.keys, self.values = (room[:rows, :, :end] for room in self._room)
        self.keys[:, :, length:] = key_states
        self.values[:, :, length:] = value_states
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Makes these rows [B'] the batch."""
        self._room = (self.keys[beam_idx], self.values[beam_idx])
        self.keys, self.values = self._room

    def move(self, moves: RowMoves) -> None:
        """Makes the rows of the moves the batch, by copying those alone that change their place."""
        count, length = len(moves.rows), self.keys.shape[-2]
        for room in self._room if len(moves.targets) else ():
            states = room[:, :, :length]
            states[moves.targets] = states[moves.sources]
        self.keys, self.values = (room[:count, :, :length] for room in self._room)


@dataclass(frozen=True, slots=True, eq=False)
class RowMoves:
    """The rows [B'] that become the batch, as indices into the rows before, and those of them that move, [N] each."""

    rows: Tensor
    sources: Tensor
    targets: Tensor
    in_place: bool
    """True where there are no more rows than before, and at most half of them move."""

    @classmethod
    def of(cls, rows: NDArray[np.int64], before: int, device: torch.device) -> Self:
        """Returns the moves from a batch of `before` rows."""
        targets = np.flatnonzero(rows != np.arange(len(rows)))
        in_place = len(rows) <= before and 2 * len(targets) <= len(rows)
        kept, sources, places = (torch.from_numpy(part).to(device) for part in (rows, rows[targets], targets))
        return cls(kept, sources, places, in_place)


def keep_rows(cache: Any, moves: RowMoves) -> None:
    """Makes the rows of the moves the batch of a model's cache."""
    if not moves.in_place or not any(type(layer) is GrowingLayer for layer in getattr(cache, "layers", ())):
        cache.reorder_cache(moves.rows)  # unlike batch_select_indices, every kind of cache layer has it
        return
    for layer in cache.layers:
        if type(layer) is GrowingLayer:
            layer.move(moves)
        else:
            layer.reorder_cache(moves.rows)


def widened(states: Tensor, width: int) -> Tensor:
    """Returns a buffer of `width` columns that begins with the states [B, H, T, D]; the others hold anything."""
    rows, heads, length, size = states.shape
    buffer = states.new_empty(rows, heads, width, size)
    buffer[:, :, :length] = states
    return buffer


def make_growing(cache: Any, limit: int) -> None:
    """Replaces the ordinary layers of a model's cache, as it is after the prompts; others stay as they are."""
    layers: list[Any] = getattr(cache, "layers", [])
    for number, layer in enumerate(layers):
        if type(layer) is DynamicLayer and layer.is_initialized and layer.keys.ndim == 4:
            layers[number] = GrowingLayer(layer.keys, layer.values, limit)
