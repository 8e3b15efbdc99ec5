"""Collecting the groups of a step: sample, grade, filter, and refill what the filter dropped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Self

import torch
from torch import Tensor

from ngrpo.config import SamplingSettings
from ngrpo.errors import DataError
from ngrpo.evaluation.background_grader import BackgroundGrader
from ngrpo.filters import kept_groups
from ngrpo.methods import Method
from ngrpo.sampling import Decoding, Prompt, Request, Sampler
from ngrpo.tasks import Task
from ngrpo.training.divisions import GROUPS
from ngrpo.training.prompt_source import PromptSource
from ngrpo.training.ranks import ALONE, Ranks
from ngrpo.types import Completion, Grade, Group, Problem, Rollout

MAX_EMPTY_STEPS = 10
"""After so many steps in a row without a group to train on, going on would only cost."""


TRUNCATED = Grade("ungraded", 0.0, None, "truncated ([sampling] truncated)")
"""The grade of a completion that is left out because it was cut at the limit."""


@dataclass(frozen=True, eq=False)
class GradedGroups:
    """P graded groups of G rollouts with their rewards [P, G] float32; `valid` [P, G] is false where ungraded."""

    groups: tuple[Group, ...]
    rewards: Tensor
    valid: Tensor

    @classmethod
    def of(cls, groups: Sequence[Group]) -> Self:
        """Returns the groups, all of one size, with the rewards of their grades."""
        return cls(tuple(groups), *rewards_of(groups))

    @classmethod
    def join(cls, parts: Sequence[GradedGroups]) -> Self:
        """Returns the groups of all parts, in order; at least one part."""
        groups = tuple(group for part in parts for group in part.groups)
        return cls(groups, torch.cat([part.rewards for part in parts]), torch.cat([part.valid for part in parts]))

    def __len__(self) -> int:
        return len(self.groups)

    def select(self, chosen: Tensor) -> GradedGroups:
        """Returns the groups where `chosen` [P] bool is true."""
        groups = tuple(group for group, taken in zip(self.groups, chosen.tolist(), strict=True) if taken)
        return GradedGroups(groups, self.rewards[chosen], self.valid[chosen])

    @cached_property
    def num_tokens(self) -> Tensor:
        """The length [P, G] of each completion in tokens."""
        lengths = [[len(rollout.completion.tokens) for rollout in group.rollouts] for group in self.groups]
        return torch.tensor(lengths, dtype=torch.int64).view_as(self.rewards)

    def ungradable(self) -> list[Grade]:
        """Returns the grades of completions that the grader could not grade; not of those left out as truncated."""
        grades = (rollout.grade for group in self.groups for rollout in group.rollouts)
        return [grade for grade in grades if not grade.graded and grade != TRUNCATED]

    def completions(self) -> Iterator[Completion]:
        """Yields every completion, ungraded ones included."""
        return (rollout.completion for group in self.groups for rollout in group.rollouts)

    def graded_completions(self) -> Iterator[tuple[Group, Completion]]:
        """Yields every graded completion with its group; an ungraded one is no evidence of anything."""
        for group, flags in zip(self.groups, self.valid.tolist(), strict=True):
            for rollout, graded in zip(group.rollouts, flags, strict=True):
                if graded:
                    yield group, rollout.completion


@dataclass(frozen=True, eq=False)
class Collected:
    """The groups of a step: all that were sampled, and which of them the filter let into the batch.

    `in_batch` is [P] bool. `overlong` counts the problems that were passed over because of the length of their prompt.
    `no_problem_left` is true when fewer problems were sampled than wanted, because the step had met every one.
    """

    sampled: GradedGroups
    in_batch: Tensor
    rounds: int = 1
    overlong: int = 0
    no_problem_left: bool = False
    sample_seconds: float = 0.0
    grade_seconds: float = 0.0

    @cached_property
    def batch(self) -> GradedGroups:
        """The groups that are trained on."""
        return self.sampled.select(self.in_batch)

    @property
    def rollouts_sampled(self) -> int:
        """Completions of all groups."""
        return self.sampled.valid.numel()

    @property
    def rollouts_trained(self) -> int:
        """Graded completions of the groups in the batch."""
        return int(self.batch.valid.sum())


def collect_groups(
    sampler: Sampler,
    source: PromptSource,
    task: Task,
    method: Method,
    settings: SamplingSettings,
    *,
    seed: int,
    step: int,
    ranks: Ranks = ALONE,
) -> Collected:
    """Returns the groups of a step: problems_per_step that pass the method's filter, where they can be had.

    With `method.refill`, dropped groups are replaced by sampling further problems, whole groups each time, until the
    batch is full, `max_refill_factor` times problems_per_step problems have been sampled, or none is left.

    Raises:
        DataError: when no problem has a prompt that is short enough.
    """
    rounds, kept, used = list[GradedGroups](), list[Tensor](), set[str]()
    no_problem_left, seconds = False, _Seconds()
    sampled_groups = partial(_sampled, sampler, task, settings, seed=seed, step=step, seconds=seconds)
    limit = int(method.max_refill_factor * settings.problems_per_step)
    wanted = settings.problems_per_step
    while wanted > 0 and not no_problem_left:
        prompts = source.take(wanted, used)
        no_problem_left = len(prompts) < wanted
        if not prompts:
            break
        rounds.append(new := GradedGroups.of(ranks.spread(prompts, sampled_groups, GROUPS)))
        kept.append(kept_groups(new.rewards, filter=method.filter, max_reward=method.max_reward, valid=new.valid))
        missing = settings.problems_per_step - sum(int(flags.sum()) for flags in kept) if method.refill else 0
        wanted = min(missing, limit - sum(map(len, rounds)))
    if not rounds:
        raise DataError(
            f"none of the {len(source)} problems of task '{task.name}' has a prompt of 1 to "
            f"{settings.max_prompt_tokens} tokens ([sampling] max_prompt_tokens)"
        )
    sampled = GradedGroups.join(rounds)
    overlong = len(used) - len(sampled)
    return Collected(sampled, torch.cat(kept), len(rounds), overlong, no_problem_left, seconds.sample, seconds.grade)


@dataclass(slots=True)
class _Seconds:
    """Time of this rank's sampling, and of the grading after it."""

    sample: float = 0.0
    grade: float = 0.0


def _sampled(
    sampler: Sampler,
    task: Task,
    settings: SamplingSettings,
    prompts: Sequence[Prompt],
    *,
    seed: int,
    step: int,
    seconds: _Seconds,
) -> list[Group]:
    """Returns the graded groups of prompts."""
    decoding, started = decoding_of(settings), time.perf_counter()
    with _Rollouts(task, prompts, settings) as rollouts:
        for index, completion in sampler.stream(rollouts.requests, decoding, seed=seed, round_name=f"step {step}"):
            rollouts.add(index, completion)
        grading = time.perf_counter()
    seconds.sample += grading - started
    seconds.grade += time.perf_counter() - grading
    return rollouts.groups()


def decoding_of(settings: SamplingSettings) -> Decoding:
    """Returns the distribution that training samples from."""
    return Decoding(
        settings.temperature,
        settings.top_p,
        settings.max_completion_tokens,
        top_k=settings.top_k,
        min_p=settings.min_p,
        stop=settings.stop,
        include_stop=settings.include_stop,
        record_kept=True,
    )


class _Rollouts:
    """The rollouts of a round, graded in a thread while further ones are sampled; a context manager."""

    def __init__(self, task: Task, prompts: Sequence[Prompt], settings: SamplingSettings) -> None:
        self._prompts = prompts
        self._grades_truncated = settings.truncated != "ungraded"
        self.requests = [Request(prompt, sample) for prompt in prompts for sample in range(settings.group_size)]
        self._completions: dict[int, Completion] = {}
        self._grades: dict[int, Grade] = {}
        self._grader = BackgroundGrader[int](task, self._answer, self._grades.update)

    def add(self, index: int, completion: Completion) -> None:
        """Takes the completion of a request, and has it graded where it is to be."""
        self._completions[index] = completion
        if self._grades_truncated or completion.finish_reason != "length":
            self._grader.submit(index)
        else:
            self._grades[index] = TRUNCATED

    def groups(self) -> list[Group]:
        """Returns the group of each prompt; to be called after the context, when every grade has come."""
        rollouts = [
            Rollout(request.prompt.problem, request.sample, self._completions[index], self._grades[index])
            for index, request in enumerate(self.requests)
        ]
        size = len(rollouts) // len(self._prompts)
        return [
            Group(prompt.problem, prompt.tokens, tuple(rollouts[place * size : (place + 1) * size]), prompt.text)
            for place, prompt in enumerate(self._prompts)
        ]

    def __enter__(self) -> Self:
        self._grader.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._grader.__exit__(*error)

    def _answer(self, index: int) -> tuple[Problem, str]:
        return self.requests[index].prompt.problem, self._completions[index].text


def grade_groups(task: Task, prompts: Sequence[Prompt], sampled: Sequence[Sequence[Completion]]) -> list[Group]:
    """Returns the groups of the prompts' completions, graded in one call of the task."""
    pairs = [(p.problem, c.text) for p, completions in zip(prompts, sampled, strict=True) for c in completions]
    grades = iter(zip(pairs, task.grade_many(pairs), strict=True))
    groups = []
    for prompt, completions in zip(prompts, sampled, strict=True):
        rollouts = []
        for sample, completion in enumerate(completions):
            (problem, _), grade = next(grades)
            rollouts.append(Rollout(problem, sample, completion, grade))
        groups.append(Group(prompt.problem, prompt.tokens, tuple(rollouts), prompt.text))
    return groups


def rewards_of(groups: Sequence[Group]) -> tuple[Tensor, Tensor]:
    """Returns the rewards [P, G] float32 and which of them are graded [P, G] bool; [0, 0] without groups."""
    grades = [[rollout.grade for rollout in group.rollouts] for group in groups]
    shape = (len(groups), len(grades[0]) if grades else 0)
    rewards = torch.tensor([[grade.reward for grade in row] for row in grades], dtype=torch.float32)
    valid = torch.tensor([[grade.graded for grade in row] for row in grades], dtype=torch.bool)
    return rewards.view(shape), valid.view(shape)
