"""reasoning-gym's hundred procedural data sets, each with its own scorer: `gym:NAME`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field, field_validator

from ngrpo.choices import Split
from ngrpo.errors import ConfigError, DataError, GradingError, MissingDependencyError
from ngrpo.grading.graders import REASONING_GYM
from ngrpo.tasks.math import MATH_PROMPT, MathTask
from ngrpo.tasks.on_demand import ProblemsOnDemand
from ngrpo.types import Problem

_TEST_SEED = 1_000_000_007
"""Test problems are this far from the training ones, which count up from `seed`."""
_MOST_TRIES = 20
"""Entries that are tried for each problem that is wanted: small data sets repeat themselves."""


class Gym(MathTask):
    """`gym:NAME`: problems made by a data set of reasoning-gym, graded by its scorer (0 to 1)."""

    argument: ClassVar[str] = "NAME"
    label: ClassVar[str] = "reasoning-gym"

    prompt: str = MATH_PROMPT
    """Template of the user's message; the answer is the last box, else what stands in <answer> tags, else all of it."""
    grader: str = REASONING_GYM
    """What grades; reasoning-gym's own scorers know which answers are as good as the reference."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Settings of the data set, such as min_numbers of countdown."""
    train_size: int = Field(10_000, ge=1)
    """Training problems; each is made when it is asked for."""
    test_size: int = Field(500, ge=1)
    """Test problems; none of them is among the training ones."""
    seed: int = Field(0, ge=0)
    """Decides the problems."""

    @field_validator("name")
    @classmethod
    def _has_name(cls, name: str) -> str:
        if not name.removeprefix("gym:") or not name.startswith("gym:"):
            raise ValueError("must be gym:NAME, such as gym:countdown")
        return name

    @property
    def slug(self) -> str:
        """The task's name as a file name, `gym-countdown`."""
        return f"gym-{self.name.removeprefix('gym:')}"

    def load_problems(self, split: Split) -> Sequence[Problem]:
        """Returns the problems of a split; those of the training split are made when they are asked for.

        Raises:
            ConfigError: when there is no such data set, or it does not take the options.
            MissingDependencyError: when reasoning-gym is not installed.
            DataError: when the data set has too few different problems.
        """
        return self._train_problems() if split == "train" else self._test_problems()

    def check_grader(self) -> None:
        """Grades the first test problem's own reference, boxed, where it has one.

        Raises:
            GradingError: when it is not correct: the data set's scorer cannot be used through this task.
        """
        super().check_grader()
        problem = self.problems("test")[0]
        if not problem.reference:  # there are many answers, and the scorer knows them without one
            return
        grade = self.grade_many([(problem, f"\\boxed{{{problem.reference}}}")])[0]
        if grade.status != "correct":
            raise GradingError(
                f"the scorer of {self.name} does not accept the reference of its own first problem "
                f"({grade.status}, {grade.reason})"
            )

    def dataset(self, seed: int, size: int) -> Any:
        """Returns reasoning-gym's data set of this size, its entry i generated from seed + i."""
        try:
            import reasoning_gym
            from reasoning_gym.factory import DATASETS
        except ModuleNotFoundError:
            raise MissingDependencyError("reasoning-gym", "gym", f"task '{self.name}'") from None
        name = self.name.removeprefix("gym:")
        if name not in DATASETS:
            near = difflib.get_close_matches(name, DATASETS, n=3) or sorted(DATASETS)[:5]
            raise ConfigError(f"reasoning-gym has no data set '{name}'; it has {', '.join(near)} and others")
        try:
            return reasoning_gym.create_dataset(name, seed=seed, size=size, **self.options)
        except (TypeError, ValueError, AssertionError) as error:
            raise ConfigError(f"[task] options of {self.name}: {error}") from None

    def problem(self, id: str, entry: dict[str, Any]) -> Problem:
        """Returns an entry of the data set as a problem."""
        return Problem(id, entry["question"], str(entry["answer"] or ""), metadata=entry["metadata"])

    def _test_problems(self) -> Sequence[Problem]:
        tries = self.test_size * _MOST_TRIES
        dataset = self.dataset(_TEST_SEED + self.seed, tries)
        chosen: dict[str, Any] = {}
        for i in range(tries):
            entry = dataset[i]
            chosen.setdefault(entry["question"], entry)
            if len(chosen) == self.test_size:
                return tuple(self.problem(f"test-{i}", entry) for i, entry in enumerate(chosen.values()))
        raise DataError(f"{self.name} has only {len(chosen)} different problems, [task] test_size is {self.test_size}")

    def _train_problems(self) -> Sequence[Problem]:
        """Where the data set makes one of the test problems again, the next in line is taken."""
        dataset = self.dataset(self.seed, self.train_size * _MOST_TRIES)
        tested = {problem.question for problem in self.problems("test")}

        def make(place: int) -> Problem:
            for attempt in range(_MOST_TRIES):
                entry = dataset[place + attempt * self.train_size]
                if entry["question"] not in tested:
                    return self.problem(f"train-{place}", entry)
            raise DataError(f"{self.name} has too few different problems for [task] test_size {self.test_size}")

        return ProblemsOnDemand(self.train_size, make)
