"""Sampling beside transformers' `generate`, a hand-written loop and the bare matrix products: docs/performance.md.

    OMP_NUM_THREADS=1 python benchmarks/sample.py [--repeats 5] [--problems 16] [--json]

A random Qwen2 of 3.2 million parameters and 8,192 tokens samples 8 completions of each prompt of 60 tokens. "spread":
lengths are uniform between 10 and 200, because a hook sets the logit of the stop token at each position, for every
contender alike; "equal": all have 105. Contenders run in turn in one process, on one thread; a ratio is the user
seconds of the other over ours, of the same turn, per sampled token. "greedy": 24 prompts of different lengths at
temperature 0 give the same tokens as `generate`.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import resource
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from ngrpo.models import LanguageModel
from ngrpo.sampling import Decoding, Prompt
from ngrpo.sampling.transformers_sampler import TransformersSampler
from ngrpo.training.allocator import keep_freed_memory
from ngrpo.types import Problem

VOCABULARY, GROUP_SIZE, PROMPT_TOKENS, STOP = 8192, 8, 60, 1
SHORTEST, LONGEST, EQUAL = 10, 200, 105


class NoText:
    """A tokenizer for a model without text."""

    eos_token_id = STOP

    def batch_decode(self, rows: Sequence[Sequence[int]], **_: Any) -> list[str]:
        return [""] * len(rows)


class StopAtRandom:
    """A hook on the output head: the stop token's probability makes lengths uniform, or is 0.

    Call `restart` before each batch.
    """

    def __init__(self, model: Qwen2ForCausalLM, log_normaliser: float) -> None:
        self.spread, self._position, self._log_normaliser = True, 0, log_normaliser
        model.lm_head.register_forward_hook(self._set)

    def restart(self) -> None:
        self._position = 0

    def _set(self, _: Any, __: Any, logits: Tensor) -> None:
        left = LONGEST - self._position  # the token at this position makes a completion of position + 1
        if not self.spread or self._position + 1 < SHORTEST:
            logits[..., STOP] = -math.inf
        elif left > 1:
            logits[..., STOP] = self._log_normaliser - math.log(left - 1)
        self._position += 1


def random_model() -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=STOP,
        pad_token_id=0,
    )
    model = Qwen2ForCausalLM(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0.0, 0.08)
    return model


def prompts_of(lengths: Sequence[int]) -> list[Prompt]:
    random = np.random.default_rng(0)
    return [Prompt(Problem(f"p{i}", "", ""), random.integers(2, VOCABULARY, size=n)) for i, n in enumerate(lengths)]


class Contenders:
    """What samples the completions of the prompts; each returns the number of tokens that it sampled."""

    def __init__(self, model: Qwen2ForCausalLM, prompts: Sequence[Prompt], dtype: torch.dtype = torch.float32) -> None:
        self.model, self.prompts = model if dtype == torch.float32 else copy.deepcopy(model).to(dtype), prompts
        lm = LanguageModel(model, NoText(), model.device, dtype)
        self.sampler = TransformersSampler(lm, max_sequences=len(prompts) * GROUP_SIZE)
        self.ids = torch.from_numpy(np.stack([prompt.tokens for prompt in prompts])).to(model.device)

    def ours(self, limit: int, seed: int) -> int:
        decoding = Decoding(max_completion_tokens=limit)
        sampled = self.sampler.sample(self.prompts, range(GROUP_SIZE), decoding, seed=seed, round_name="step 1")
        return sum(len(completion.tokens) for group in sampled for completion in group)

    def generate(self, limit: int, seed: int) -> int:
        torch.manual_seed(seed)
        ids = self.ids.repeat_interleave(GROUP_SIZE, dim=0)
        out = self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            top_k=0,
            top_p=1.0,
            temperature=1.0,
            max_new_tokens=limit,
            eos_token_id=STOP,
            pad_token_id=0,
        )
        written = out[:, ids.shape[1] :]
        return int((written != 0).sum())

    @torch.no_grad()
    def loop(self, limit: int, seed: int) -> int:
        """A plain loop as one would write it: one prefill per prompt, float32 inverse transform, rows that leave."""
        generator = torch.Generator().manual_seed(seed)
        out = self.model(input_ids=self.ids, use_cache=True, logits_to_keep=1)
        cache, logits = out.past_key_values, out.logits[:, -1].repeat_interleave(GROUP_SIZE, dim=0)
        cache.batch_repeat_interleave(GROUP_SIZE)
        rows = torch.arange(len(logits))
        tokens = torch.zeros(len(logits), limit, dtype=torch.int64)
        logprobs = torch.zeros(len(logits), limit)
        count = 0
        for position in range(limit):
            probs = logits.softmax(dim=-1)
            cumulative = probs.cumsum(dim=-1)
            threshold = torch.rand(len(rows), 1, generator=generator) * cumulative[:, -1:]
            token = torch.searchsorted(cumulative, threshold, right=True).clamp(max=VOCABULARY - 1)
            tokens[rows, position] = token[:, 0]
            logprobs[rows, position] = probs.gather(-1, token)[:, 0].log()
            count += len(rows)
            kept = (token[:, 0] != STOP).nonzero()[:, 0]
            if not len(kept) or position + 1 == limit:
                break
            if len(kept) < len(rows):
                rows, token = rows[kept], token[kept]
                cache.batch_select_indices(kept)
            logits = self.model(input_ids=token, past_key_values=cache, use_cache=True).logits[:, -1]
        return count

    @torch.no_grad()
    def products(self, limit: int, seed: int) -> int:
        """The matrix products of the weights alone, with as many rows as are left at each position."""
        layers = [m.weight for m in self.model.modules() if isinstance(m, torch.nn.Linear)]
        random = np.random.default_rng(seed)
        lengths = np.full(len(self.ids) * GROUP_SIZE, limit)
        if limit == LONGEST:
            lengths = random.integers(SHORTEST, LONGEST + 1, size=len(lengths))
        for weight in layers[:-1]:
            torch.nn.functional.linear(torch.ones(self.ids.numel(), weight.shape[1]), weight)
        for position in range(limit):
            inputs = {size: torch.ones(int((lengths > position).sum()), size) for size in (192, 512)}
            for weight in layers:
                torch.nn.functional.linear(inputs[weight.shape[1]], weight)
        return int(lengths.sum())


def user_seconds(work: Callable[[int, int], int], limit: int, seed: int) -> float:
    """User seconds per sampled token."""
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    tokens = work(limit, seed)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_utime - began) / tokens


def measured(contenders: Contenders, hook: StopAtRandom, limit: int, repeats: int) -> dict[str, Any]:
    names = ("ours", "generate", "loop", "products")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for name in names:  # warms up
        hook.restart()
        getattr(contenders, name)(SHORTEST, 0)
    for turn in range(repeats):
        for name in names:
            hook.restart()
            seconds[name].append(user_seconds(getattr(contenders, name), limit, turn))
    row: dict[str, Any] = {"microseconds_per_token": {n: statistics.median(s) * 1e6 for n, s in seconds.items()}}
    for name in names[1:]:
        ratios = sorted(theirs / ours for theirs, ours in zip(seconds[name], seconds["ours"], strict=True))
        row[f"ratio_{name}"] = {"median": statistics.median(ratios), "range": [ratios[0], ratios[-1]]}
    return row


def greedy_equal(model: Qwen2ForCausalLM, count: int) -> int:
    """How many of so many prompts get the same tokens as from `generate`, at temperature 0."""
    prompts = prompts_of([5 + 3 * i for i in range(count)])
    sampler = TransformersSampler(LanguageModel(model, NoText(), torch.device("cpu"), torch.float32))
    decoding = Decoding(temperature=0.0, max_completion_tokens=60)
    sampled = sampler.sample(prompts, [0], decoding, seed=0, round_name="step 1")
    equal = 0
    for prompt, (ours,) in zip(prompts, sampled, strict=True):
        ids = torch.from_numpy(prompt.tokens)[None]
        theirs = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=60)
        equal += theirs[0, ids.shape[1] :].tolist() == ours.tokens.tolist()
    return equal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--problems", type=int, default=16)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    greedy = greedy_equal(random_model(), 24)
    model = random_model()
    prompts = prompts_of([PROMPT_TOKENS] * arguments.problems)
    with torch.no_grad():
        logits = model(torch.from_numpy(np.stack([prompt.tokens for prompt in prompts]))).logits
    contenders = Contenders(model, prompts)  # before the hook, which a check of the model would stumble over
    keep_freed_memory()  # as ngrpo train does, for every contender
    hook = StopAtRandom(model, float(logits.logsumexp(-1).mean()))
    table = {"spread": measured(contenders, hook, LONGEST, arguments.repeats)}
    hook.spread = False
    table["equal"] = measured(contenders, hook, EQUAL, arguments.repeats)
    if arguments.json:
        print(json.dumps({"table": table, "greedy_equal": greedy, "greedy_of": 24}))
        return
    print("| lengths | beside | ratio of user seconds | range |\n|---|---|---|---|")
    for lengths, row in table.items():
        for name in ("generate", "loop", "products"):
            ratio = row[f"ratio_{name}"]
            low, high = ratio["range"]
            print(f"| {lengths} | {name} | {ratio['median']:.2f} | {low:.2f} to {high:.2f} |")
    print(f"greedy equal to generate: {greedy} of 24")


if __name__ == "__main__":
    main()
