"""The default sampler: any Hugging Face causal LM, with one prefill per problem and rows that leave when finished."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngrpo.errors import TrainingError
from ngrpo.models import LanguageModel
from ngrpo.sampling.draw import draw_tokens
from ngrpo.sampling.sampler import Decoding, Prompt
from ngrpo.sampling.streams import stream_key, uniforms
from ngrpo.types import Completion

_COMPACT_AT = 1 / 8
"""The batch is compacted when this share of its rows has finished: copying the cache for each one would cost more."""


class TransformersSampler:
    """Draws completions with the model's own forward pass and key-value cache.

    Args:
        language_model: model, tokenizer and precision; the weights are used as they are at each call.
        max_sequences: completions drawn at the same time.
    """

    def __init__(self, language_model: LanguageModel, *, max_sequences: int = 512) -> None:
        self._lm = language_model
        self._max_sequences = max_sequences

    def sample(
        self, prompts: Sequence[Prompt], samples: Sequence[int], decoding: Decoding, *, seed: int, round_name: str
    ) -> list[list[Completion]]:
        """Returns, for each prompt, one completion for each sample index; see `Sampler.sample`."""
        out: list[list[Completion]] = [[] for _ in prompts]
        training = self._lm.model.training
        self._lm.model.eval()
        try:
            # One context for all passes: autocast then casts each weight once, not once per token.
            with torch.no_grad(), self._lm.autocast():
                for chunk, part in self._chunks(prompts, samples):
                    batch = _Batch(self._lm, [prompts[i] for i in chunk], part, decoding, seed, round_name)
                    for i, completions in zip(chunk, batch.run(), strict=True):
                        out[i].extend(completions)
        finally:
            self._lm.model.train(training)
        return out

    def _chunks(self, prompts: Sequence[Prompt], samples: Sequence[int]) -> Iterator[tuple[list[int], Sequence[int]]]:
        """Yields (prompt indices, samples) of at most max_sequences rows; prompts of like length go together."""
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].tokens))
        per_prompt = min(len(samples), self._max_sequences)
        prompts_at_once = max(1, self._max_sequences // max(1, per_prompt))
        for i in range(0, len(order), prompts_at_once):
            for j in range(0, len(samples), self._max_sequences):
                yield order[i : i + prompts_at_once], samples[j : j + self._max_sequences]


class _Batch:
    """The rows that are drawn together, from prefill to the last finished one."""

    def __init__(
        self,
        lm: LanguageModel,
        prompts: Sequence[Prompt],
        samples: Sequence[int],
        decoding: Decoding,
        seed: int,
        round_name: str,
    ) -> None:
        self.lm, self.prompts, self.samples, self.decoding = lm, prompts, samples, decoding
        rows = len(prompts) * len(samples)
        limit = decoding.max_completion_tokens
        self.keys = np.array(
            [stream_key(seed, round_name, prompt.problem.id, sample) for prompt in prompts for sample in samples],
            dtype=np.uint64,
        )
        # Rows are written as they are drawn; on the device, so that a token costs no transfer.
        self.tokens = torch.zeros(rows, limit, dtype=torch.int64, device=lm.device)
        self.logprobs = torch.zeros(rows, limit, dtype=torch.float32, device=lm.device)
        self.lengths = torch.full((rows,), limit, device=lm.device)
        self.stops = torch.tensor(sorted(lm.stop_tokens), device=lm.device)

    def run(self) -> list[list[Completion]]:
        """Returns the completions by prompt."""
        logits, cache, mask = self._prefill()
        rows = torch.arange(len(self.keys), device=self.lm.device)
        running = torch.ones_like(rows, dtype=torch.bool)
        for position in range(self.decoding.max_completion_tokens):
            drawn = self._draw(logits, rows, position)
            running &= ~torch.isin(drawn, self.stops)
            num_running = int(running.sum())
            if num_running == 0 or position + 1 == self.decoding.max_completion_tokens:
                break
            if num_running <= (1 - _COMPACT_AT) * len(rows):
                kept = running.nonzero()[:, 0]
                rows, running, drawn, mask = rows[kept], running[kept], drawn[kept], mask[kept]
                cache.batch_select_indices(kept)
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            logits = self._forward(drawn[:, None], mask, cache)
        return self._completions()

    def _prefill(self) -> tuple[Tensor, Any, Tensor]:
        """Returns the logits [B, V], cache and attention mask [B, L] after the prompts, each read once, G rows from it."""
        from transformers import DynamicCache

        longest = max(len(prompt.tokens) for prompt in self.prompts)
        ids = np.full((len(self.prompts), longest), self.lm.pad_token, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, prompt in enumerate(self.prompts):
            ids[row, longest - len(prompt.tokens) :] = prompt.tokens
            mask[row, longest - len(prompt.tokens) :] = 1
        cache = DynamicCache(config=self.lm.plain.config)
        attention = torch.from_numpy(mask).to(self.lm.device)
        logits = self._forward(torch.from_numpy(ids).to(self.lm.device), attention, cache)
        cache.batch_repeat_interleave(len(self.samples))
        return (
            logits.repeat_interleave(len(self.samples), dim=0),
            cache,
            attention.repeat_interleave(len(self.samples), dim=0),
        )

    def _forward(self, input_ids: Tensor, mask: Tensor, cache: Any) -> Tensor:
        """Returns the logits [B, V] after the last of the tokens [B, L]; the cache grows by L."""
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -input_ids.shape[1] :]
        optional = {"position_ids": positions, "logits_to_keep": 1}
        known = {name: value for name, value in optional.items() if name in self.lm.forward_arguments}
        out = self.lm.model(input_ids=input_ids, attention_mask=mask, past_key_values=cache, use_cache=True, **known)
        return out.logits[:, -1]  # type: ignore[no-any-return]

    def _draw(self, logits: Tensor, rows: Tensor, position: int) -> Tensor:
        """Draws and records one token of each row; a row that has finished draws on unheard."""
        numbers = torch.from_numpy(uniforms(self.keys[rows.cpu().numpy()], position)).to(self.lm.device)
        tokens, logprobs = draw_tokens(
            logits, numbers, temperature=self.decoding.temperature, top_p=self.decoding.top_p
        )
        self.tokens[rows, position] = tokens
        self.logprobs[rows, position] = logprobs
        ended = torch.isin(tokens, self.stops)
        self.lengths[rows] = torch.where(ended, self.lengths[rows].clamp(max=position + 1), self.lengths[rows])
        return tokens

    def _completions(self) -> list[list[Completion]]:
        tokens, logprobs = self.tokens.cpu().numpy(), self.logprobs.cpu().numpy()
        lengths, stops = self.lengths.cpu().numpy(), self.lm.stop_tokens
        cut = [tokens[row, :length] for row, length in enumerate(lengths)]
        texts = self.lm.tokenizer.batch_decode(
            [(row[:-1] if int(row[-1]) in stops else row).tolist() for row in cut], skip_special_tokens=True
        )
        completions = [
            _completion(text, row, logprobs[i, : len(row)], int(row[-1]) in stops)
            for i, (text, row) in enumerate(zip(texts, cut, strict=True))
        ]
        g = len(self.samples)
        return [completions[i * g : (i + 1) * g] for i in range(len(self.prompts))]


def _completion(text: str, tokens: NDArray[np.int64], logprobs: NDArray[np.float32], stopped: bool) -> Completion:
    if not np.isfinite(logprobs).all():
        raise TrainingError("the model's logits are not finite any more: the training has diverged")
    return Completion(text, tokens.copy(), logprobs.copy(), "stop" if stopped else "length")
