"""Tries how much memory updates and sampling take, at the longest lengths that a config allows.

A process of its own, started by `ngrpo.training.fit`, for what it tries may end it. Its argument is a task as JSON; it
writes a line of JSON for each size that it tried, smallest first, until one does not fit.
"""

from __future__ import annotations

import json
import mmap
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from ngrpo.config import Config, config_of
from ngrpo.errors import NgrpoError, TrainingError
from ngrpo.models import LanguageModel
from ngrpo.models.out_of_memory import is_out_of_memory
from ngrpo.sampling import Decoding, Prompt
from ngrpo.sampling.transformers_sampler import TransformersSampler
from ngrpo.training.batch import TrainingRow, ValuedRow
from ngrpo.training.checkpoint import load_policy
from ngrpo.training.device_memory import DeviceMemory
from ngrpo.training.learner import Learner
from ngrpo.training.learner_choice import learner_of
from ngrpo.types import Problem

USABLE = 0.95
"""Share of the memory that may be taken: a run has a task, a grader and their threads beside what is tried here."""
LONGEST_SECONDS = 60.0
"""A size that took longer is the last that is tried."""


class MemoryProbe:
    """A model with its optimiser, as in training.

    Args:
        config: the run's.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lm: LanguageModel = load_policy(config.model, None)
        self._learner: Learner[Any] = learner_of(config, self._lm)
        self._random = np.random.default_rng(0)
        self.memory = DeviceMemory(self._lm.device)
        self._spared = spared_memory()

    def update(self, tokens: int) -> bool:
        """Takes an update with a micro-batch of so many tokens; returns whether it fitted."""
        for updater in self._learner.updaters:
            updater.budget.tokens = tokens
            for parameter in updater.parameters.values():  # as after the first micro-batch of an update
                parameter.grad = torch.zeros_like(parameter)
        self._learner.take_updates([self._rows(tokens)], step=self._config.run.steps)
        return all(updater.budget.tokens == tokens for updater in self._learner.updaters)

    def sample(self, sequences: int) -> bool:
        """Samples so many completions at a time, their first token and their last; returns whether they fitted."""
        halved: list[str] = []
        # The last token is read after one long prompt in place of prompts and completions: each row then has its own.
        samplers = [
            TransformersSampler(self._lm, max_sequences=sequences, shares_prompts=shared) for shared in (True, False)
        ]
        for sampler in samplers:
            sampler.on_message = halved.append
        sampling, evaluation = self._config.sampling, self._config.evaluation
        longest = sampling.max_completion_tokens
        top_p = sampling.top_p
        if evaluation.in_run:
            longest, top_p = max(longest, evaluation.max_completion_tokens), min(top_p, evaluation.top_p)
        size = min(sampling.group_size, sequences)
        begin = [self._prompt(i, sampling.max_prompt_tokens) for i in range(-(-sequences // size))]
        end = [self._prompt(0, sampling.max_prompt_tokens + max(0, longest - 2))]
        for sampler, prompts, samples, new in zip(
            samplers, (begin, end), (size, sequences), (1, min(2, longest)), strict=True
        ):
            sampler.sample(prompts, range(samples), Decoding(1.0, top_p, new), seed=0, round_name="probe")
        return not halved

    def _rows(self, tokens: int) -> list[TrainingRow]:
        """Returns rows of the longest prompt and completion, as many as a micro-batch of so many tokens holds."""
        sampling = self._config.sampling
        rows, used, prompt = list[TrainingRow](), 0, self._tokens(0)
        while True:
            new_prompt = not self._lm.packs or len(rows) % sampling.group_size == 0
            used += sampling.max_completion_tokens + (sampling.max_prompt_tokens if new_prompt else 0)
            if rows and used > tokens:
                return rows
            if new_prompt:
                prompt = self._tokens(sampling.max_prompt_tokens)
            completion = self._tokens(sampling.max_completion_tokens)
            logprobs = np.full(len(completion), -np.log(self._lm.vocabulary_size), dtype=np.float32)
            # Both signs; the values and returns of a critic are then off by 1.
            advantages = np.full(len(completion), 1.0 if len(rows) % 2 else -1.0, dtype=np.float32)
            rows.append(ValuedRow(prompt, completion, logprobs, advantages, np.zeros_like(logprobs), advantages))

    def _prompt(self, number: int, length: int) -> Prompt:
        return Prompt(Problem(f"probe {number}", "", ""), self._tokens(length))

    def _tokens(self, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        return self._random.integers(0, self._lm.vocabulary_size, size=count)


def spared_memory() -> mmap.mmap | None:
    """Returns the part above USABLE of what this process may map (RLIMIT_AS, RLIMIT_DATA); None without a limit."""
    soft = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    limits = [limit for limit in soft if limit != resource.RLIM_INFINITY]
    if not limits:
        return None
    return mmap.mmap(-1, max(1, round((1 - USABLE) * min(limits))), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def tried(function: Callable[[int], bool], sizes: list[int], memory: DeviceMemory) -> Iterator[dict[str, Any]]:
    """Yields what was seen of each size, until one does not fit, takes long, or the next would be too large.

    Args:
        function: tries a size; returns whether it fitted, or raises an allocator's error.
        sizes: in ascending order.
        memory: of the device.
    """
    seen: list[tuple[int, int]] = []
    for size in sizes:
        if len(seen) > 1:  # beyond a cgroup's limit the kernel ends processes
            (small, least), (large, most) = seen[-2:]
            if most + (most - least) / (large - small) * (size - large) > USABLE * memory.deadly:
                yield {"size": size, "fits": False}
                return
        memory.reset_peak()
        started = time.monotonic()
        try:
            fits = function(size)
        except (RuntimeError, MemoryError) as error:
            if not (is_out_of_memory(error) or (isinstance(error, TrainingError) and "out of memory" in str(error))):
                raise
            fits = False
        peak = memory.peak()
        fits = fits and peak <= USABLE * memory.deadly
        seconds = time.monotonic() - started
        yield {"size": size, "fits": fits, "peak": peak, "limit": memory.limit, "seconds": seconds}
        seen.append((size, peak))
        if not fits or seconds > LONGEST_SECONDS:
            return


def main() -> None:
    """Does the task of the first argument."""
    task = json.loads(sys.argv[1])
    try:
        probe = MemoryProbe(config_of(task["config"]))
        kind = probe.update if task["kind"] == "update" else probe.sample
        if "tokens" in task:
            probe.update(task["tokens"])  # so that the optimiser has its moments
        if "sequences" in task:
            probe.sample(task["sequences"])  # as in a step: what sampling frees is not all of use to an update
        for line in tried(kind, task["sizes"], probe.memory):
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
    except NgrpoError as error:
        sys.stdout.write(json.dumps({"error": str(error), "status": error.exit_status}) + "\n")


if __name__ == "__main__":
    main()
