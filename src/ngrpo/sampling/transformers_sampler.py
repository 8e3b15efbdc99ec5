"""The default sampler: any Hugging Face causal LM, with one prefill per problem and rows that leave when finished."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray

from ngrpo.errors import ConfigError, DataError, TrainingError
from ngrpo.kept_tokens import KeptSets
from ngrpo.models import LanguageModel
from ngrpo.models.out_of_memory import is_out_of_memory, release_memory
from ngrpo.models.plain_decoder import has_hooks
from ngrpo.models.prepacked import packable_layers, prepacked
from ngrpo.sampling.cached_forward import CachedReader, Reader
from ngrpo.sampling.choose import sample_tokens
from ngrpo.sampling.detokenizer import Detokenizer
from ngrpo.sampling.plain_reader import PlainReader
from ngrpo.sampling.reader_choice import exact_decoder
from ngrpo.sampling.sampler import Decoding, Prompt, Request, Sampler
from ngrpo.sampling.stop_strings import StopSearch, ended
from ngrpo.sampling.streams import stream_key, uniforms
from ngrpo.types import Completion, KeptTokens

FIRST_WIDTH = 256
"""Columns of a buffer at first, in tokens: a high limit alone costs nothing."""
_FEWEST_TOKENS = 8
"""Limit of a completion from which on packing the weights takes less time than it saves, with 20 rows or more."""


class TransformersSampler(Sampler):
    """Samples completions with a key-value cache.

    Args:
        language_model: model, tokenizer and precision; the weights are used as they are at each call.
        max_sequences: completions sampled at the same time, at least 1.
        keep_special_tokens: special tokens that stay in a completion's text.
        shares_prompts: whether a prompt's keys and values may be kept once for all its completions, where the family
            allows it.

    Raises:
        ConfigError: when the tokenizer has no such special token, or the model's family cannot be sampled from with a
            cache.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        *,
        max_sequences: int = 512,
        keep_special_tokens: Sequence[str] = (),
        shares_prompts: bool = True,
    ) -> None:
        self._lm = language_model
        self._detokenizer = Detokenizer(language_model.tokenizer, keep_special_tokens)
        self._max_sequences = max_sequences
        decoder = exact_decoder(language_model)
        self._decoder = decoder if shares_prompts else None
        self._packable = packable_layers(language_model.plain, language_model.dtype)

    def blocks(self, requests: Sequence[Request]) -> list[list[int]]:
        """Returns batches of at most max_sequences requests; prompts of like length go together."""
        order = sorted(range(len(requests)), key=lambda i: len(requests[i].prompt.tokens))
        return [order[i : i + self._max_sequences] for i in range(0, len(order), self._max_sequences)]

    def stream(
        self, requests: Sequence[Request], decoding: Decoding, *, seed: int, round_name: str
    ) -> Iterator[tuple[int, Completion]]:
        """Yields the index and the completion of each request, block by block; see `Sampler.stream`.

        Raises:
            ConfigError: when the prompts do not fit the model: too long for its positions, or of another vocabulary.
            DataError: for an empty prompt.
            TrainingError: when the model's logits are not finite.
        """
        for request in requests:
            self._check(request.prompt, decoding)
        waiting = self.blocks(requests)
        while waiting:
            block = waiting[0]
            completions = self._fitting([requests[i] for i in block], decoding, seed, round_name)
            if completions is not None:
                waiting = waiting[1:]
                yield from zip(block, completions, strict=True)
                continue
            self._halve(len(block))
            rest, size = [i for block in waiting for i in block], self._max_sequences
            waiting = [rest[i : i + size] for i in range(0, len(rest), size)]

    def reader(self) -> Reader:
        """Returns what reads one batch: the model's own forward pass where a hook waits for that."""
        decoder, modules = self._decoder, (self._lm.model, self._lm.plain)
        if decoder is None or decoder.is_watched or any(map(has_hooks, modules)):
            return CachedReader(self._lm)
        return PlainReader(self._lm, decoder)

    def _fitting(
        self, requests: Sequence[Request], decoding: Decoding, seed: int, round_name: str
    ) -> list[Completion] | None:
        """Returns the completions of a block, None when they do not fit into memory together."""
        try:
            with self._lm.inference(), self._prepacked(decoding):
                return self._sample(requests, decoding, seed, round_name)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        release_memory()  # outside of the handler: the traceback holds the tensors of the failed call
        return None

    def _prepacked(self, decoding: Decoding) -> AbstractContextManager[None]:
        """Returns the context for a block; whatever its size, so that a half of it gets the same logprobs."""
        worthwhile = self._packable and decoding.max_completion_tokens >= _FEWEST_TOKENS
        return prepacked(self._packable, self._lm.dtype) if worthwhile else nullcontext()

    def _halve(self, size: int) -> None:
        """Halves the number of completions that are sampled at the same time, from that of the block that failed."""
        if size == 1:
            raise TrainingError(
                "out of memory in sampling, with one completion at a time: lower max_completion_tokens, or use a "
                "smaller model"
            )
        self._max_sequences = size // 2
        self.on_message(
            f"out of memory in sampling: {size // 2} completions at a time in place of {size}; to start with fewer, "
            "set [sampling] max_sequences"
        )

    def _check(self, prompt: Prompt, decoding: Decoding) -> None:
        """Raises the errors of a prompt that the model cannot read; on a GPU it would end the process."""
        length, limit, positions = len(prompt.tokens), decoding.max_completion_tokens, self._lm.max_positions
        if length == 0:
            raise DataError(f"problem '{prompt.problem.id}' has an empty prompt: there is nothing to continue")
        if positions is not None and length + limit > positions:
            raise ConfigError(
                f"the model's context is {positions} tokens, but the prompt of problem '{prompt.problem.id}' has "
                f"{length} and max_completion_tokens is {limit}"
            )
        if prompt.tokens.max() >= self._lm.vocabulary_size:
            raise ConfigError(
                f"the tokenizer gives token {prompt.tokens.max()}, but the model knows {self._lm.vocabulary_size} "
                "tokens only: tokenizer and model do not match"
            )

    def _sample(self, requests: Sequence[Request], decoding: Decoding, seed: int, round_name: str) -> list[Completion]:
        """Returns the completions of the requests of a block."""
        device, limit = self._lm.device, decoding.max_completion_tokens
        keys = np.array(
            [stream_key(seed, round_name, prompt.problem.id, sample) for prompt, sample in requests],
            dtype=np.uint64,
        )
        sampled, rows = _Sampled(len(keys)), np.arange(len(keys))
        ends = _Ends(self._lm.stop_tokens, decoding, self._detokenizer, len(keys))
        reader = self.reader()
        # Neighbours that share a prompt read it once.
        runs = [(prompt, len(list(run))) for prompt, run in itertools.groupby(requests, key=lambda r: r.prompt)]
        logits = reader.read_prompts([prompt.tokens for prompt, _ in runs], [copies for _, copies in runs], limit)
        for position in range(limit):
            numbers = torch.from_numpy(uniforms(keys[rows], position)).to(device)
            tokens, logprobs, kept_sets = sample_tokens(
                logits, numbers, temperature=decoding.temperature, truncation=decoding.truncation
            )
            # The one transfer of a token; float64 holds both to the bit.
            new_tokens, new_logprobs = torch.stack([tokens.double(), logprobs.double()]).cpu().numpy()
            if np.isnan(new_logprobs).any():
                raise TrainingError("the model's logits are no longer finite: training has diverged")
            sampled.append(position, rows, new_tokens, new_logprobs)
            if decoding.record_kept and kept_sets is not None:
                sampled.append_kept(rows, kept_sets)
            running = ends.running(rows, new_tokens.astype(np.int64), position)
            if position + 1 == limit or not running.any():
                break
            if not running.all():
                kept = closed_up(running)
                rows, tokens = rows[kept], tokens[torch.from_numpy(kept).to(device)]
                reader.keep(kept)
            logits = reader.read(tokens)
        return ends.completions(sampled, position + 1)


class _Sampled:
    """The tokens [B, T] and logprobs [B, T] of a block as they come; the buffers are doubled when they are full."""

    def __init__(self, rows: int) -> None:
        self.tokens = np.zeros((rows, FIRST_WIDTH), dtype=np.int64)
        self.logprobs = np.zeros((rows, FIRST_WIDTH), dtype=np.float32)
        self._kept: dict[int, list[NDArray[np.int32]]] = {}

    def append(
        self, position: int, rows: NDArray[np.int64], tokens: NDArray[np.float64], logprobs: NDArray[np.float64]
    ) -> None:
        """Writes the column `position` of the rows [B']."""
        if position == self.tokens.shape[1]:
            self.tokens = np.concatenate([self.tokens, np.zeros_like(self.tokens)], axis=1)
            self.logprobs = np.concatenate([self.logprobs, np.zeros_like(self.logprobs)], axis=1)
        self.tokens[rows, position] = tokens
        self.logprobs[rows, position] = logprobs

    def append_kept(self, rows: NDArray[np.int64], sets: KeptSets) -> None:
        """Adds what was kept at the next position of the rows [B']."""
        tokens, starts = sets.tokens.cpu().numpy().astype(np.int32), sets.starts.cpu().numpy()
        for row, part in zip(rows.tolist(), np.split(tokens, starts[1:-1]), strict=True):
            self._kept.setdefault(row, []).append(part)

    def kept(self, row: int) -> KeptTokens | None:
        """Returns what was kept at each position of a row, None where nothing was recorded."""
        parts = self._kept.get(row)
        if parts is None:
            return None
        return KeptTokens(np.array([len(part) for part in parts], dtype=np.int32), np.concatenate(parts))


class _Ends:
    """Where each completion of a block ends: with a stop token, with a stop string, or at the limit.

    Args:
        stop_tokens: tokens that end a completion.
        decoding: the stop strings.
        detokenizer: turns tokens into text.
        rows: number of completions.
    """

    def __init__(self, stop_tokens: frozenset[int], decoding: Decoding, detokenizer: Detokenizer, rows: int) -> None:
        self._stop_tokens = np.array(sorted(stop_tokens), dtype=np.int64)
        self._decoding, self._detokenizer = decoding, detokenizer
        self._search = StopSearch(decoding.stop, detokenizer) if decoding.stop else None
        self._lengths = np.zeros(rows, dtype=np.int64)
        self._by_token = np.zeros(rows, dtype=np.bool_)
        self._by_string = np.zeros(rows, dtype=np.bool_)

    def running(self, rows: NDArray[np.int64], tokens: NDArray[np.int64], position: int) -> NDArray[np.bool_]:
        """Returns which rows [B'] go on after their tokens [B'] at a position, and notes where the others end."""
        by_token = np.isin(tokens, self._stop_tokens)
        self._by_token[rows] = by_token
        if self._search is not None and not by_token.all():
            going = ~by_token
            self._by_string[rows[going]] = self._search.hits(rows[going].tolist(), tokens[going].tolist())
        done = by_token | self._by_string[rows]
        self._lengths[rows[done]] = position + 1
        return ~done

    def completions(self, sampled: _Sampled, longest: int) -> list[Completion]:
        """Returns the completions; those that have not ended are `longest` tokens long."""
        lengths = np.where(self._lengths > 0, self._lengths, longest).tolist()
        spoken = [n - stop for n, stop in zip(lengths, self._by_token.tolist(), strict=True)]
        texts = self._detokenizer.texts([row[:n].tolist() for row, n in zip(sampled.tokens, spoken, strict=True)])
        return [
            Completion(
                ended(text, self._decoding.stop, keep=self._decoding.include_stop)[0] if self._by_string[i] else text,
                sampled.tokens[i, :n].copy(),
                sampled.logprobs[i, :n].copy(),
                "stop" if self._by_token[i] or self._by_string[i] else "length",
                kept=sampled.kept(i),
            )
            for i, (text, n) in enumerate(zip(texts, lengths, strict=True))
        ]


def closed_up(running: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Returns the places of the rows that go on, where the last of them fill the gaps: most stay where they are.

    >>> closed_up(np.array([True, False, True, False, True])).tolist()
    [0, 4, 2]
    """
    places = np.flatnonzero(running)
    count = len(places)
    kept = np.arange(count)
    kept[~running[:count]] = places[places >= count]
    return kept
