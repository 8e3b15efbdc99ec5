"""The training problems in the order in which a run takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ngrpo.sampling import Prompt
from ngrpo.sampling.prompts import encode_prompt
from ngrpo.tasks import Task
from ngrpo.types import Problem


class PromptSource:
    """The training problems in a seeded order, each epoch shuffled anew, and how far they have been used.

    Args:
        task: gives the problems and their messages.
        tokenizer: encodes them.
        seed: decides the order.
        max_prompt_tokens: longer prompts, and empty ones, are passed over.
        problems: those to take, the task's training problems when None.
    """

    def __init__(
        self,
        task: Task,
        tokenizer: Any,
        *,
        seed: int,
        max_prompt_tokens: int,
        problems: Sequence[Problem] | None = None,
    ) -> None:
        self._task, self._tokenizer, self._seed = task, tokenizer, seed
        self._problems = task.problems("train") if problems is None else problems
        self._max_prompt_tokens = max_prompt_tokens
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)
        self.cursor = 0

    def __len__(self) -> int:
        return len(self._problems)

    def take(self, count: int, used: set[str]) -> list[Prompt]:
        """Returns the next prompts, at most `count`, none whose problem id is in `used`.

        `used` grows by the problems returned and by those passed over because of their length. Fewer are returned only
        when every problem is in it: a problem that came twice in a step would be sampled from the same random streams
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
