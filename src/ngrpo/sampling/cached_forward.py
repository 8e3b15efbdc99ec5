"""Reading with a key-value cache: prompts of any lengths at once, each only once, then one token per row at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngrpo.errors import ConfigError, error_line
from ngrpo.models import STRUCTURE_ERRORS, LanguageModel

FIRST_WIDTH = 256
"""Columns of a buffer at first, in tokens; it is doubled when they are full, so a high limit alone costs nothing."""


class CachedReader:
    """The rows of a batch as the model has read them so far.

    Call `read_prompts` once, then `read` with one token per row; `keep` drops, repeats or reorders rows in between.
    """

    def __init__(self, language_model: LanguageModel) -> None:
        self._lm = language_model
        self._cache: Any = None
        self._length = 0

    def read_prompts(self, prompts: Sequence[NDArray[np.int64]], copies: Sequence[int], max_new_tokens: int) -> Tensor:
        """Returns the logits [B, V] after the prompts, each so many times; it is read once, padded on the left."""
        lengths = [len(prompt) for prompt in prompts]
        self._length = max(lengths)
        ids = np.zeros((len(prompts), self._length), dtype=np.int64)
        self._longest = self._length + max_new_tokens
        mask = np.ones((len(prompts), self._length + min(max_new_tokens, FIRST_WIDTH)), dtype=np.int64)
        for row, prompt in enumerate(prompts):
            ids[row, self._length - len(prompt) :] = prompt
            mask[row, : self._length - len(prompt)] = 0
        device = self._lm.device
        # Longer than what is read: a longer view of it costs nothing, a longer copy at every token would.
        self._mask = torch.from_numpy(mask).to(device)
        positions = (self._mask[:, : self._length].cumsum(dim=1) - 1).clamp(min=0)
        logits = self._forward(torch.from_numpy(ids).to(device), positions)
        self._next_positions = torch.tensor(lengths, device=device)[:, None]
        rows = torch.arange(len(prompts), device=device).repeat_interleave(torch.tensor(copies, device=device))
        self.keep(rows)
        return logits[rows]

    def read(self, tokens: Tensor) -> Tensor:
        """Returns the logits [B, V] after one more token [B] of each row."""
        self._length += 1
        if self._length > self._mask.shape[1]:
            self._mask = widened(self._mask, self._longest, fill=1)
        logits = self._forward(tokens[:, None], self._next_positions)
        self._next_positions = self._next_positions + 1
        return logits

    def keep(self, rows: Tensor) -> None:
        """Makes these rows [B'] the batch."""
        self._cache.reorder_cache(rows)  # unlike batch_select_indices, every kind of cache layer has it
        self._mask, self._next_positions = self._mask[rows], self._next_positions[rows]

    def _forward(self, input_ids: Tensor, positions: Tensor) -> Tensor:
        optional = {"position_ids": positions, "logits_to_keep": 1}
        known = {name: value for name, value in optional.items() if name in self._lm.forward_arguments}
        out = self._lm.model(
            input_ids=input_ids,
            attention_mask=self._mask[:, : self._length],
            past_key_values=self._cache,  # None at first: the model then makes the kind of cache that it needs
            use_cache=True,
            **known,
        )
        self._cache = out.past_key_values
        return out.logits[:, -1]  # type: ignore[no-any-return]


def widened(columns: Tensor, limit: int, fill: int = 0) -> Tensor:
    """Returns a copy of a buffer [B, T] with twice the columns, at most `limit`; the new ones hold `fill`."""
    rows, width = columns.shape
    return torch.cat([columns, columns.new_full((rows, min(width, limit - width)), fill)], dim=1)


def check_cache(lm: LanguageModel) -> None:
    """Compares cached, padded reading with plain full passes on a few tokens.

    Raises:
        ConfigError: when they differ: the family cannot be read in this way, and its samples would be wrong.
    """
    prompts = [np.arange(3) % lm.vocabulary_size, np.arange(1, 7) % lm.vocabulary_size]
    tokens = np.arange(4, 6) % lm.vocabulary_size
    try:
        with lm.inference():
            reader = CachedReader(lm)
            reader.read_prompts(prompts, copies=[2, 2], max_new_tokens=2)
            reader.keep(torch.tensor([1, 2], device=lm.device))  # one row of each prompt
            for token in tokens:
                ours = reader.read(torch.full((2,), int(token), device=lm.device))
            full = [torch.from_numpy(np.concatenate([prompt, tokens]))[None].to(lm.device) for prompt in prompts]
            theirs = torch.cat([lm.plain(input_ids=ids, use_cache=False).logits[:, -1] for ids in full])
    except torch.OutOfMemoryError:
        raise
    except STRUCTURE_ERRORS as error:
        raise ConfigError(
            f"models of type '{lm.model_type}' cannot be sampled from: reading with a key-value cache failed: "
            + error_line(error)
        ) from error
    # Half precision rounds the two differently, and may route a token to other experts.
    tolerance = 1e-3 if ours.dtype == torch.float32 else 0.2
    error_size, size = (ours - theirs).float().abs().mean(), theirs.float().std() + theirs.float().abs().mean()
    if not error_size <= tolerance * size:
        raise ConfigError(
            f"models of type '{lm.model_type}' cannot be sampled from: with a key-value cache and padded prompts their "
            "logits are not those of a full pass"
        )
