"""Collecting the groups of a step: sample, grade, filter, and refill what the filter dropped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ngrpo.config import SamplingSettings
from ngrpo.errors import DataError
from ngrpo.filters import kept_groups
from ngrpo.methods import Method
from ngrpo.sampling import Decoding, Prompt, Sampler
from ngrpo.sampling.prompts import encode_prompt
from ngrpo.tasks import Task
from ngrpo.types import Completion, Group, Problem, Rollout

MAX_EMPTY_STEPS = 10
"""After so many steps in a row without a group to train on, going on would only cost."""


class PromptSource:
    """The training problems in a seeded order, each epoch shuffled anew, and how far they have been used.

    Args:
        task: gives the problems and their messages.
        tokenizer: encodes them.
        seed: decides the order.
        max_prompt_tokens: longer prompts, and empty ones, are passed over.
    """

    def __init__(self, task: Task, tokenizer: Any, *, seed: int, max_prompt_tokens: int) -> None:
        self._task, self._tokenizer, self._seed = task, tokenizer, seed
        self._problems: Sequence[Problem] = task.problems("train")
        self._max_prompt_tokens = max_prompt_tokens
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)
        self.cursor = 0

    def __len__(self) -> int:
        return len(self._problems)

    def take(self, count: int, used: set[str]) -> list[Prompt]:
        """Returns the next prompts, at most `count`, none whose problem id is in `used`.

        `used` grows by the problems returned and by those passed over because of their length. Fewer are returned only
        when every problem is in it: a problem that came twice in a step would be drawn from the same random streams
        twice.
        """
        prompts: list[Prompt] = []
        for _ in range(2 * len(self)):  # two epochs pass every problem that is not used
            if len(prompts) == count or len(used) == len(self):
                break
            problem = self._next()
            if problem.id in used:
                continue
            used.add(problem.id)
            prompt = encode_prompt(self._task, problem, self._tokenizer)
            if 0 < len(prompt.tokens) <= self._max_prompt_tokens:
                prompts.append(prompt)
        return prompts

    def _next(self) -> Problem:
        epoch, place = divmod(self.cursor, len(self))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self._seed, epoch]).permutation(len(self))
        self.cursor += 1
        return self._problems[int(self._order[place])]


@dataclass(slots=True)
class Collected:
    """The groups of a step: all that were sampled, and which of them the filter let into the batch.

    `overlong` counts the problems that were passed over because of the length of their prompt. `no_problem_left` is
    true when fewer problems were sampled than wanted, because the step had met every one.
    """

    sampled: list[Group] = field(default_factory=list)
    in_batch: list[bool] = field(default_factory=list)
    rounds: int = 0
    overlong: int = 0
    no_problem_left: bool = False
    sample_seconds: float = 0.0
    grade_seconds: float = 0.0

    @property
    def batch(self) -> list[Group]:
        """The groups that are trained on."""
        return [group for group, kept in zip(self.sampled, self.in_batch, strict=True) if kept]

    @property
    def rollouts_sampled(self) -> int:
        """Completions of all groups."""
        return sum(len(group.rollouts) for group in self.sampled)

    @property
    def rollouts_trained(self) -> int:
        """Graded completions of the groups in the batch."""
        return sum(rollout.grade.graded for group in self.batch for rollout in group.rollouts)

    def add(self, groups: Sequence[Group], method: Method) -> None:
        """Adds the groups of one round of sampling and filters them."""
        rewards, valid = rewards_of(groups)
        kept = kept_groups(rewards, filter=method.filter, max_reward=method.max_reward, valid=valid)
        self.sampled += groups
        self.in_batch += kept.tolist()
        self.rounds += 1


def collect_groups(
    sampler: Sampler,
    source: PromptSource,
    task: Task,
    method: Method,
    settings: SamplingSettings,
    *,
    seed: int,
    step: int,
) -> Collected:
    """Returns the groups of a step: problems_per_step that pass the method's filter, where they can be had.

    With `method.refill`, dropped groups are replaced by sampling further problems, whole groups each time, until the
    batch is full, `max_refill_factor` times problems_per_step problems have been sampled, or none is left.

    Raises:
        DataError: when no problem has a prompt that is short enough.
    """
    collected, used = Collected(), set[str]()
    decoding = Decoding(settings.temperature, settings.top_p, settings.max_completion_tokens)
    limit = int(method.max_refill_factor * settings.problems_per_step)
    wanted = settings.problems_per_step
    while wanted > 0 and not collected.no_problem_left:
        prompts = source.take(wanted, used)
        collected.no_problem_left = len(prompts) < wanted
        if not prompts:
            break
        started = time.perf_counter()
        drawn = sampler.sample(prompts, range(settings.group_size), decoding, seed=seed, round_name=f"step {step}")
        sampled = time.perf_counter()
        collected.add(grade_groups(task, prompts, drawn), method)
        collected.sample_seconds += sampled - started
        collected.grade_seconds += time.perf_counter() - sampled
        missing = settings.problems_per_step - sum(collected.in_batch) if method.refill else 0
        wanted = min(missing, limit - len(collected.sampled))
    if not collected.sampled:
        raise DataError(
            f"none of the {len(source)} problems of task '{task.name}' has a prompt of 1 to "
            f"{settings.max_prompt_tokens} tokens ([sampling] max_prompt_tokens)"
        )
    collected.overlong = len(used) - len(collected.sampled)
    return collected


def grade_groups(task: Task, prompts: Sequence[Prompt], drawn: Sequence[Sequence[Completion]]) -> list[Group]:
    """Returns the groups of the prompts' completions, graded in one call of the task."""
    pairs = [(p.problem, c.text) for p, completions in zip(prompts, drawn, strict=True) for c in completions]
    grades = iter(zip(pairs, task.grade_many(pairs), strict=True))
    groups = []
    for prompt, completions in zip(prompts, drawn, strict=True):
        rollouts = []
        for sample, completion in enumerate(completions):
            (problem, _), grade = next(grades)
            rollouts.append(Rollout(problem, sample, completion, grade))
        groups.append(Group(prompt.problem, prompt.tokens, tuple(rollouts), prompt.text))
    return groups


def rewards_of(groups: Sequence[Group]) -> tuple[Tensor, Tensor]:
    """Returns the rewards [P, G] float32 and which of them are graded [P, G] bool."""
    rewards = torch.tensor([[r.grade.reward for r in g.rollouts] for g in groups], dtype=torch.float32)
    valid = torch.tensor([[r.grade.graded for r in g.rollouts] for g in groups], dtype=torch.bool)
    return rewards, valid
