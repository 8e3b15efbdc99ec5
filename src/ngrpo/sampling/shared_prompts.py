"""Keys and values of rows that share prompts: a prompt's once for all its rows, and each row's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngrpo.sampling.growing_layer import GrowingLayer, RowMoves

_FEWEST_ALIVE = 0.75
"""Share of the prompts that have a row left, below which the others are dropped."""
_FEW_QUERIES = range(2, 17)
"""Queries per head for which two plain products are faster on a CPU than the kernel for long sequences."""


class SharedPrompts:
    """What each row of a batch attends to: the tokens of its prompt, and its own.

    Args:
        keys: of each layer, those of P prompts [P, H', L, d], padded on the left.
        values: likewise.
        lengths: tokens of each prompt [P].
        prompt_of: the prompt of each row [B].
        limit: own tokens that a row can have at most.
        scaling: what scores are multiplied by.
    """

    def __init__(
        self,
        keys: Sequence[Tensor],
        values: Sequence[Tensor],
        *,
        lengths: NDArray[np.int64],
        prompt_of: NDArray[np.int64],
        limit: int,
        scaling: float,
    ) -> None:
        # Under autocast keys leave the rotary embedding in float32; attention then takes all in the values' precision.
        self._prompts = [(k.to(v.dtype), v) for k, v in zip(keys, values, strict=True)]
        self._lengths, self._prompt_of, self._scaling = lengths, prompt_of, scaling
        self._device, self._dtype = values[0].device, values[0].dtype
        rows = torch.from_numpy(prompt_of).to(self._device)
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
        self._prompt_of = self._prompt_of[rows]
        alive, renamed = np.unique(self._prompt_of, return_inverse=True)
        if len(alive) < _FEWEST_ALIVE * len(self._lengths):
            kept = torch.from_numpy(alive).to(self._device)
            self._prompts = [(k[kept], v[kept]) for k, v in self._prompts]
            self._lengths, self._prompt_of = self._lengths[alive], renamed
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
        share = torch.sigmoid(prompt_weight - own_weight)[..., None]
        return torch.lerp(own, of_prompt, share.to(own.dtype)).reshape(rows, -1)

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
        """Gives each row a place among those of its prompt; every prompt has as many places."""
        rows = np.arange(len(self._prompt_of))
        order = np.argsort(self._prompt_of, kind="stable")
        counts = np.bincount(self._prompt_of, minlength=len(self._lengths))
        width, sorted_prompts = counts.max(), self._prompt_of[order]
        places = np.empty_like(order)
        places[order] = sorted_prompts * width + rows - (np.cumsum(counts) - counts)[sorted_prompts]
        self._row_of: Tensor | None = None
        self._place_of: Tensor | None = None
        if len(rows) < width * len(counts) or (places != rows).any():
            row_of = np.zeros(width * len(counts), dtype=np.int64)
            row_of[places] = rows
            self._row_of, self._place_of = (torch.from_numpy(x).to(self._device) for x in (row_of, places))


def evenly(copies: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Parts the rows of prompts with very many, so that no prompt has more than twice the mean.

    Args:
        copies: rows of each prompt, at least 1.

    Returns:
        The prompt of each part, and the part of each row.

    Examples:
        >>> [x.tolist() for x in evenly([1, 1, 7])]
        [[0, 1, 2, 2], [0, 1, 2, 2, 2, 2, 2, 2, 3]]
    """
    counts = np.array(copies)
    most = -(-2 * int(counts.sum()) // len(counts))
    prompts = np.arange(len(counts)).repeat(-(-counts // most))
    first = np.cumsum(-(-counts // most)) - -(-counts // most)
    parts = [start + np.arange(count) // most for start, count in zip(first, counts, strict=True)]
    return prompts, np.concatenate(parts)


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float) -> tuple[Tensor, Tensor]:
    """Returns softmax attention [B, H, N, d], and the logarithm of the sum of its exponentials [B, H, N] in float32.

    Args:
        query: [B, H, N, d].
        key: [B, H, T, d].
        value: [B, H, T, d].
        mask: [B, 1, 1, T], added to the scores; a row of it has at least one 0.
        scaling: what scores are multiplied by.
    """
    if query.device.type == "cpu" and query.shape[2] not in _FEW_QUERIES:
        out, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, attn_mask=mask, scale=scaling
        )
        return out, weight
    scores = torch.matmul(query * scaling, key.transpose(-1, -2)).float()
    if mask is not None:
        scores = scores + mask
    largest = scores.amax(dim=-1, keepdim=True)
    weights = torch.exp(scores - largest)
    total = weights.sum(dim=-1, keepdim=True)
    return torch.matmul(weights.to(value.dtype), value) / total.to(value.dtype), (largest + total.log())[..., 0]
