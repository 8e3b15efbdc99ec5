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
from ngrpo.sampling.growing_layer import BLOCK_TOKENS, RowMoves, keep_rows, make_growing


class CachedReader:
    """The rows of a batch as the model has read them so far.

    Call `read_prompts` once, then `read` with one token per row; `keep` drops, repeats or reorders rows in between.
    """

    def __init__(self, language_model: LanguageModel) -> None:
        self._lm = language_model
        self._cache: Any = None
        self._length = 0
        self._mask: Tensor | None = None

    def read_prompts(self, prompts: Sequence[NDArray[np.int64]], copies: Sequence[int], max_new_tokens: int) -> Tensor:
        """Returns the logits [B, V] after the prompts, each so many times; it is read once, padded on the left."""
        lengths = np.array([len(prompt) for prompt in prompts])
        self._length = longest = int(lengths.max())
        ids = np.zeros((len(prompts), longest), dtype=np.int64)
        for row, prompt in zip(ids, prompts, strict=True):
            row[longest - len(prompt) :] = prompt
        device = self._lm.device
        columns = np.arange(longest) - (longest - lengths)[:, None]
        # Without padding there is nothing to mask, and transformers need not look at a mask at each token.
        self._mask = torch.from_numpy((columns >= 0).astype(np.int64)).to(device) if columns.min() < 0 else None
        logits = self._forward(torch.from_numpy(ids).to(device), torch.from_numpy(columns.clip(min=0)).to(device))
        make_growing(self._cache, longest + max_new_tokens)
        self._next_positions = torch.from_numpy(lengths).to(device)[:, None]
        rows = np.arange(len(prompts)).repeat(copies)
        self.keep(rows)
        return logits[torch.from_numpy(rows).to(device)]

    def read(self, tokens: Tensor) -> Tensor:
        """Returns the logits [B, V] after one more token [B] of each row."""
        self._length += 1
        if self._mask is not None and self._length > self._mask.shape[1]:
            # Longer than what is read: a longer view of it costs nothing, a longer copy at every token would.
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), BLOCK_TOKENS)], dim=1)
        logits = self._forward(tokens[:, None], self._next_positions)
        self._next_positions = self._next_positions + 1
        return logits

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Makes these rows [B'] the batch; the fewer of them stand elsewhere than before, the less is copied."""
        places = RowMoves.of(rows, len(self._next_positions), self._lm.device)
        keep_rows(self._cache, places)
        self._next_positions = self._next_positions[places.rows]
        if self._mask is not None:
            self._mask = self._mask[places.rows]

    def _forward(self, input_ids: Tensor, positions: Tensor) -> Tensor:
        optional = {"position_ids": positions, "logits_to_keep": 1}
        known = {name: value for name, value in optional.items() if name in self._lm.forward_arguments}
        out = self._lm.model(
            input_ids=input_ids,
            attention_mask=None if self._mask is None else self._mask[:, : self._length],
            past_key_values=self._cache,  # None at first: the model then makes the kind of cache that it needs
            use_cache=True,
            **known,
        )
        self._cache = out.past_key_values
        return out.logits[:, -1]  # type: ignore[no-any-return]


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
            reader.keep(np.array([1, 2]))  # one row of each prompt
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
