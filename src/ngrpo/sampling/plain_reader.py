"""Reading in families of the Llama kind: keys and values of a prompt once for all its rows, and plain steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngrpo.models import LanguageModel
from ngrpo.models.plain_decoder import PlainDecoder
from ngrpo.sampling.cached_forward import read_prompts
from ngrpo.sampling.growing_layer import RowMoves
from ngrpo.sampling.shared_prompts import SharedPrompts, evenly


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
        read = read_prompts(self._lm, prompts)
        of_parts, part_of = evenly(copies)
        parts = torch.from_numpy(of_parts).to(self._lm.device)
        layers = [(layer.keys[parts], layer.values[parts]) for layer in read.cache.layers]
        self._shared = SharedPrompts(
            [keys for keys, _ in layers],
            [values for _, values in layers],
            lengths=read.lengths[of_parts],
            prompt_of=part_of,
            limit=max_new_tokens,
            scaling=self._decoder.scaling,
        )
        rows = torch.from_numpy(of_parts[part_of]).to(self._lm.device)
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
