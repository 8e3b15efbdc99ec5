"""Reading in families of the Llama kind: keys and values of a prompt once for all its rows, and plain steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngrpo.models import LanguageModel
from ngrpo.models.plain_decoder import PlainDecoder
from ngrpo.sampling.cached_forward import GrowingLayer, RowMoves, read_prompts

_FEWEST_ALIVE = 0.75
"""Share of the prompts that have a row left, below which the others are dropped."""


class PlainReader:
    """A `Reader` of models whose decoder has plain steps.

    Args:
        language_model: the model; its own forward pass reads the prompts.
        decoder: the steps of its decoder.
    """

    def __init__(self, language_model: LanguageModel, decoder: PlainDecoder) -> None:
        self._lm, self._decoder = language_model, decoder

    def read_prompts(self, prompts: Sequence[NDArray[np.int64]], copies: Sequence[int], max_new_tokens: int) -> Tensor:
        """See `Reader.read_prompts`."""
        read, places = read_prompts(self._lm, prompts), Places.of(copies)
        parts = torch.from_numpy(places.prompts).to(self._lm.device)
        self._shared = SharedPrompts(
            [(layer.keys[parts], layer.values[parts]) for layer in read.cache.layers],
            places,
            lengths=read.lengths[places.prompts],
            limit=max_new_tokens,
            scaling=self._decoder.scaling,
        )
        rows = torch.from_numpy(np.arange(len(prompts)).repeat(copies)).to(self._lm.device)
        self._positions = torch.from_numpy(read.lengths).to(self._lm.device)[rows]
        self._longest = int(read.lengths.max())
        return read.logits[rows]

    def read(self, tokens: Tensor) -> Tensor:
        """See `Reader.read`."""
        hidden = self._decoder.hidden_states(tokens, self._positions, self._longest, self._shared.attend)
        self._positions = self._positions + 1
        self._longest += 1
        logits: Tensor = self._lm.plain.get_output_embeddings()(hidden)
        return logits

    def keep(self, rows: NDArray[np.int64]) -> None:
        """See `Reader.keep`."""
        moves = RowMoves.of(rows, len(self._positions), self._lm.device)
        self._shared.keep(moves, rows)
        self._positions = self._positions[moves.rows]


class Places(NamedTuple):
    """Places for the rows of prompts: `width` for each of P parts, whose prompts are `prompts` [P]; `of_rows` [B].

    Part p has the places from p * width on. A prompt with more rows than places has several parts.
    """

    prompts: NDArray[np.int64]
    width: int
    of_rows: NDArray[np.int64]

    @classmethod
    def of(cls, copies: Sequence[int]) -> Places:
        """Returns the places of prompts with so many rows each: at most twice the mean for each part.

        Examples:
            >>> places = Places.of([1, 1, 7])
            >>> places.width, places.prompts.tolist(), places.of_rows.tolist()
            (6, [0, 1, 2, 2], [0, 6, 12, 13, 14, 15, 16, 17, 18])
        """
        counts = np.array(copies)
        width = min(int(counts.max()), -(-2 * int(counts.sum()) // len(counts)))
        parts = -(-counts // width)
        within = np.arange(counts.sum()) - (np.cumsum(counts) - counts).repeat(counts)
        first = (np.cumsum(parts) - parts).repeat(counts)
        return cls(np.arange(len(counts)).repeat(parts), width, first * width + within)


class SharedPrompts:
    """What each row of a batch attends to: the tokens of its prompt, and its own.

    A row keeps its place for as long as its prompt is there, so that what is computed for it depends neither on other
    prompts nor on which rows of its own are left.

    Args:
        prompts: keys and values of each layer, those of P prompts [P, H', L, d], padded on the left.
        places: of the rows.
        lengths: tokens of each prompt [P].
        limit: own tokens that a row can have at most.
        scaling: what scores are multiplied by.
    """

    def __init__(
        self,
        prompts: Sequence[tuple[Tensor, Tensor]],
        places: Places,
        *,
        lengths: NDArray[np.int64],
        limit: int,
        scaling: float,
    ) -> None:
        # Under autocast keys leave the rotary embedding in float32; attention then takes all in the values' precision.
        self._prompts = [(k.to(v.dtype), v) for k, v in prompts]
        self._places, self._width, self._lengths, self._scaling = places.of_rows, places.width, lengths, scaling
        self._device, self._dtype = prompts[0][1].device, prompts[0][1].dtype
        rows = torch.from_numpy(self._places // self._width).to(self._device)
        self._own = [GrowingLayer(k[rows, :, :0], v[rows, :, :0], limit) for k, v in self._prompts]
        self._mask = self._mask_of_padding()
        self._arrange()

    def keep(self, moves: RowMoves, rows: NDArray[np.int64]) -> None:
        """Makes these rows [B'] the batch, given also as moves."""
        for layer in self._own:
            if moves.in_place:
                layer.move(moves)
            else:
                layer.reorder_cache(moves.rows)
        self._places = self._places[rows]
        alive, renamed = np.unique(self._places // self._width, return_inverse=True)
        if len(alive) < _FEWEST_ALIVE * len(self._lengths):
            kept = torch.from_numpy(alive).to(self._device)
            self._prompts = [(k[kept], v[kept]) for k, v in self._prompts]
            self._lengths, self._places = self._lengths[alive], renamed * self._width + self._places % self._width
            self._mask = self._mask_of_padding()
        self._arrange()

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Adds a layer's keys and values [B, H', d] of the rows' new tokens; returns what they attend to, [B, H * d].

        Args:
            layer: its number.
            query: [B, H, d]; H is a multiple of H', and neighbours share keys and values.
            key: of the new tokens.
            value: likewise.
        """
        rows, heads = value.shape[:2]
        keys, values = self._own[layer].update(key[:, :, None], value[:, :, None])
        grouped = query.to(self._dtype).reshape(rows, heads, -1, query.shape[-1])
        own, own_weight = attention(grouped, keys, values, None, self._scaling)
        of_prompt, prompt_weight = self._of_prompts(layer, grouped)
        # Each is a mean with softmax weights of its own; in the softmax over all, the prompt has this share.
        # For all of d: a number's place in a vector of the processor would otherwise decide about its last bit.
        odds = (prompt_weight - own_weight)[..., None].expand_as(own).contiguous()
        return torch.lerp(own, of_prompt, odds.sigmoid_().to(own.dtype)).reshape(rows, -1)

    def _of_prompts(self, layer: int, query: Tensor) -> tuple[Tensor, Tensor]:
        """Returns `attention` of the rows' queries [B, H', G, d] over their prompts: [B, H', G, d] and [B, H', G]."""
        keys, values = self._prompts[layer]
        _, heads, group, size = query.shape
        placed = query if self._row_of is None else query[self._row_of]
        by_prompt = placed.view(len(keys), -1, heads, group, size).transpose(1, 2).reshape(len(keys), heads, -1, size)
        parts = attention(by_prompt, keys, values, self._mask, self._scaling)
        out, weight = (
            part.view(len(keys), heads, -1, group, *part.shape[3:]).transpose(1, 2).flatten(0, 1) for part in parts
        )
        return (out, weight) if self._place_of is None else (out[self._place_of], weight[self._place_of])

    def _mask_of_padding(self) -> Tensor | None:
        """Returns what is added to the scores of the prompts' tokens [P, 1, 1, L]; None without padding."""
        widest = self._prompts[0][0].shape[2]
        if self._lengths.min() == widest:
            return None
        padding = np.arange(widest) < (widest - self._lengths)[:, None]
        mask = np.where(padding, -np.inf, 0.0).astype(np.float32)[:, None, None]
        return torch.from_numpy(mask).to(self._device, self._dtype)

    def _arrange(self) -> None:
        """Finds the row of each place, for as long as rows do not fill all places in order."""
        rows, count = np.arange(len(self._places)), self._width * len(self._lengths)
        self._row_of: Tensor | None = None
        self._place_of: Tensor | None = None
        if len(rows) < count or (self._places != rows).any():
            row_of = np.zeros(count, dtype=np.int64)
            row_of[self._places] = rows
            self._row_of, self._place_of = (torch.from_numpy(x).to(self._device) for x in (row_of, self._places))


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float) -> tuple[Tensor, Tensor]:
    """Returns softmax attention [B, H, N, d], and the logarithm of the sum of its exponentials [B, H, N] in float32.

    Args:
        query: [B, H, N, d].
        key: [B, H, T, d].
        value: [B, H, T, d].
        mask: [B, 1, 1, T], added to the scores; a row of it has at least one 0.
        scaling: what scores are multiplied by.
    """
    if query.device.type == "cpu":
        out, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, attn_mask=mask, scale=scaling
        )
        return out, weight
    return attention_by_products(query, key, value, mask, scaling)


def attention_by_products(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float
) -> tuple[Tensor, Tensor]:
    """Returns what `attention` does, on any device."""
    scores = torch.matmul(query, key.transpose(-1, -2)).float() * scaling
    if mask is not None:
        scores = scores + mask
    return torch.matmul(scores.softmax(dim=-1).to(value.dtype), value), scores.logsumexp(dim=-1)
