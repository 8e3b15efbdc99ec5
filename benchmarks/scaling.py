"""How the cost of an update and of sampling grows with rollouts, completion length, vocabulary and group size.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py [--repeats 1] [--json]

The model of train_step.py with a vocabulary of 8,192; 64 rollouts in groups of 8, prompts of 60 tokens, completions of
100. One of the four is doubled three times from its smallest value; the exponent is the slope of a line through the
logarithms of size and cost: 1 is in proportion, 0 is no growth. Group size grows with the number of rollouts held.
Each size runs in a process of its own; user seconds, and megabytes at the peak.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from paired import Work, in_turns, memory, parser, shown, user

BASE = {"rollouts": 64, "length": 100, "vocabulary": 8192, "group": 8}
SIZES = {
    "rollouts": (32, 64, 128, 256),
    "length": (50, 100, 200, 400),
    "vocabulary": (4096, 8192, 16384, 32768),
    "group": (4, 8, 16, 32),
}
PROMPT = 60


def language_model(vocabulary: int) -> Any:
    import torch
    from train_step import random_model, tokenizer

    from ngrpo.models import LanguageModel
    from ngrpo.training.allocator import keep_freed_memory

    keep_freed_memory()
    model = random_model()
    model.resize_token_embeddings(vocabulary)
    return LanguageModel(model, tokenizer(), torch.device("cpu"), torch.float32)


def update(rollouts: int, length: int, vocabulary: int, group: int) -> Work:
    from ngrpo.config import OptimizerSettings
    from ngrpo.methods import load_method
    from ngrpo.training.batch import TrainingRow
    from ngrpo.training.update import PolicyUpdater

    method, settings = load_method({"name": "ngrpo", "entropy_bonus": 0.0}), OptimizerSettings.parse({})
    lm = language_model(vocabulary)
    updater = PolicyUpdater(lm, None, method, settings, temperature=1.0, max_completion_tokens=length)
    rng = np.random.default_rng(0)
    prompts = [rng.integers(2, vocabulary, size=PROMPT) for _ in range(rollouts // group)]
    old = np.full(length, -math.log(vocabulary), dtype=np.float32)
    rows = [
        TrainingRow(prompts[i // group], rng.integers(2, vocabulary, size=length), old, np.full(length, rng.normal()))
        for i in range(rollouts)
    ]
    return lambda: updater.take_updates([rows], step=1) and None


def sampling(rollouts: int, length: int, vocabulary: int, group: int) -> Work:
    from ngrpo.sampling import Decoding, Prompt
    from ngrpo.sampling.transformers_sampler import TransformersSampler
    from ngrpo.types import Problem

    rng = np.random.default_rng(0)
    lm = language_model(vocabulary)
    vars(lm)["stop_tokens"] = frozenset()
    prompts = [
        Prompt(Problem(f"p{i}", "", ""), rng.integers(2, vocabulary, size=PROMPT)) for i in range(rollouts // group)
    ]
    sampler, decoding = TransformersSampler(lm), Decoding(max_completion_tokens=length)
    return lambda: sampler.sample(prompts, range(group), decoding, seed=0, round_name="step 1") and None


def exponent(sizes: tuple[int, ...], costs: list[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def main() -> None:
    given = parser(__doc__ or "", repeats=1).parse_args()
    result: dict[str, Any] = {}
    for name, work in (("update", update), ("sampling", sampling)):
        for axis, sizes in SIZES.items():
            shapes = {str(size): (work, *{**BASE, axis: size}.values()) for size in sizes}
            costs = [min(of, key=user) for of in in_turns(shapes, given.repeats).values()]
            seconds, peak = [user(cost) for cost in costs], [memory(cost) / 1e6 for cost in costs]
            result[f"{name}_{axis}"] = {
                "sizes": sizes,
                "user_seconds": seconds,
                "megabytes": peak,
                "exponent": exponent(sizes, seconds),
                "exponent_memory": exponent(sizes, peak),
            }
    shown(result, as_json=given.json)


if __name__ == "__main__":
    main()
