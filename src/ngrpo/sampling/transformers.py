"""The default sampler: any Hugging Face causal LM, with one prefill per problem and rows that leave when finished."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ngrpo.errors import ConfigError, DataError, TrainingError
from ngrpo.models import LanguageModel
from ngrpo.sampling.draw import draw_tokens
from ngrpo.sampling.reader import CachedReader, check_cache
from ngrpo.sampling.sampler import Decoding, Prompt
from ngrpo.sampling.streams import stream_key, uniforms
from ngrpo.types import Completion

_COMPACT_AT = 1 / 8
"""The batch is compacted when this share of its rows has finished: copying the cache for each one would cost more."""


class TransformersSampler:
    """Draws completions with the model's own forward pass and key-value cache.

    Args:
        language_model: model, tokenizer and precision; the weights are used as they are at each call.
        max_sequences: completions drawn at the same time, at least 1.

    Raises:
        ConfigError: when the model's family cannot be sampled from with a cache.
    """

    def __init__(self, language_model: LanguageModel, *, max_sequences: int = 512) -> None:
        self._lm = language_model
        self._max_sequences = max_sequences
        check_cache(language_model)

    def sample(
        self, prompts: Sequence[Prompt], samples: Sequence[int], decoding: Decoding, *, seed: int, round_name: str
    ) -> list[list[Completion]]:
        """Returns, for each prompt, one completion for each sample index; see `Sampler.sample`.

        Raises:
            ConfigError: when the prompts do not fit the model: too long for its positions, or of another vocabulary.
            DataError: for an empty prompt.
            TrainingError: when the model's logits are not finite.
        """
        for prompt in prompts:
            self._check(prompt, decoding)
        out: list[list[Completion]] = [[] for _ in prompts]
        with self._lm.inference():
            for chunk, part in self._chunks(prompts, samples):
                completions = self._draw([prompts[i] for i in chunk], part, decoding, seed, round_name)
                for row, completion in enumerate(completions):
                    out[chunk[row // len(part)]].append(completion)
        return out

    def _check(self, prompt: Prompt, decoding: Decoding) -> None:
        """Raises the errors of a prompt that the model cannot read; on a GPU it would end the process."""
        length, limit, positions = len(prompt.tokens), decoding.max_completion_tokens, self._lm.max_positions
        if length == 0:
            raise DataError(f"problem '{prompt.problem.id}' has an empty prompt: nothing can be drawn after it")
        if positions is not None and length + limit > positions:
            raise ConfigError(
                f"the model reads at most {positions} tokens, but the prompt of problem '{prompt.problem.id}' has "
                f"{length} and max_completion_tokens is {limit}"
            )
        if prompt.tokens.max() >= self._lm.vocabulary_size:
            raise ConfigError(
                f"the tokenizer gives token {prompt.tokens.max()}, but the model knows {self._lm.vocabulary_size} "
                "tokens only: they do not belong together"
            )

    def _chunks(self, prompts: Sequence[Prompt], samples: Sequence[int]) -> Iterator[tuple[list[int], Sequence[int]]]:
        """Yields (prompt indices, samples) of at most max_sequences rows; prompts of like length go together."""
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].tokens))
        prompts_at_once = max(1, self._max_sequences // max(1, len(samples)))
        for i in range(0, len(order), prompts_at_once):
            for j in range(0, len(samples), self._max_sequences):
                yield order[i : i + prompts_at_once], samples[j : j + self._max_sequences]

    def _draw(
        self, prompts: Sequence[Prompt], samples: Sequence[int], decoding: Decoding, seed: int, round_name: str
    ) -> list[Completion]:
        """Returns the completions of the rows that are drawn together, prompt by prompt."""
        device, limit = self._lm.device, decoding.max_completion_tokens
        keys = np.array(
            [stream_key(seed, round_name, prompt.problem.id, sample) for prompt in prompts for sample in samples],
            dtype=np.uint64,
        )
        # Written as they are drawn, on the device, so that a token costs no transfer.
        all_tokens = torch.zeros(len(keys), limit, dtype=torch.int64, device=device)
        all_logprobs = torch.zeros(len(keys), limit, dtype=torch.float32, device=device)
        stops = torch.tensor(sorted(self._lm.stop_tokens), dtype=torch.int64, device=device)
        rows = torch.arange(len(keys), device=device)
        running = torch.ones_like(rows, dtype=torch.bool)
        reader = CachedReader(self._lm)
        logits = reader.read_prompts([prompt.tokens for prompt in prompts], len(samples), limit)
        for position in range(limit):
            numbers = torch.from_numpy(uniforms(keys, position)).to(device)
            tokens, logprobs = draw_tokens(logits, numbers, temperature=decoding.temperature, top_p=decoding.top_p)
            all_tokens[rows, position], all_logprobs[rows, position] = tokens, logprobs
            running &= ~torch.isin(tokens, stops)
            num_running, num_broken = torch.stack([running.sum(), logprobs.isnan().sum()]).tolist()
            if num_broken:
                raise TrainingError("the model's logits are not finite any more: the training has diverged")
            if num_running == 0 or position + 1 == limit:
                break
            if num_running <= (1 - _COMPACT_AT) * len(rows):  # until then, a finished row draws on unheard
                kept = running.nonzero()[:, 0]
                rows, running, tokens, keys = rows[kept], running[kept], tokens[kept], keys[kept.cpu().numpy()]
                reader.keep(kept)
            logits = reader.read(tokens)
        return self._completions(all_tokens.cpu().numpy(), all_logprobs.cpu().numpy())

    def _completions(self, tokens: NDArray[np.int64], logprobs: NDArray[np.float32]) -> list[Completion]:
        """Returns the completions of rows [B, T], each up to its first stop token."""
        is_stop = np.isin(tokens, sorted(self._lm.stop_tokens))
        stopped = np.any(is_stop, axis=1)
        lengths = np.where(stopped, is_stop.argmax(axis=1) + 1, tokens.shape[1])
        texts = self._lm.tokenizer.batch_decode(
            [row[: n - stop] for row, n, stop in zip(tokens.tolist(), lengths, stopped, strict=True)],
            skip_special_tokens=True,
        )
        return [
            Completion(text, row[:n].copy(), values[:n].copy(), "stop" if stop else "length")
            for text, row, values, n, stop in zip(texts, tokens, logprobs, lengths, stopped, strict=True)
        ]
