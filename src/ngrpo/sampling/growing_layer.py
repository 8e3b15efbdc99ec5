"""A key-value cache that is written in place: it grows in blocks, and rows leave it one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import DynamicLayer

BLOCK_TOKENS = 128
"""Columns by which a full cache grows: copying it at every token would cost more than the model's own work."""


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
