"""The task Arithmetic: its settings, problems and grades."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ngrpo.choices import Split
from ngrpo.errors import ConfigError
from ngrpo.tasks.arithmetic.tiers import TIERS, Range, TierName
from ngrpo.tasks.task import Task
from ngrpo.types import Grade, Problem

MAX_OPERAND = 999
MAX_EXERCISES = 1_000_000
"""Most exercises of a tier; all of them are listed to divide them between train and test."""

_NUMBER = re.compile(r"-?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?")
_WINDOW = 200
"""Characters of a completion in which the first number is searched."""


class Arithmetic(Task):
    """Sums, products and two-step stories after three solved examples; the first number of the completion is graded."""

    label: ClassVar[str] = "Arithmetic"

    name: Literal["arithmetic"] = "arithmetic"
    """The spec that chose this task."""
    prompt: str = TIERS["products"].prompt()
    """Template of the user's message; by default three solved examples of the tier, a line each, and the question."""
    chat: bool = False
    """Use the model's chat template where it has one; by default not, the examples are continued as plain text."""
    tier: TierName = "products"
    """`sums` (`37+6=`), `products` (`37*6=`), `two_digit_products` (`37*64=`) or `stories` of two steps."""
    first: Range = TIERS["products"].first
    """Smallest and largest first operand; by default 10 to 99, for sums 10 to 59, for stories 2 to 9."""
    second: Range = TIERS["products"].second
    """Smallest and largest second operand; by default 2 to 9, for sums 1 to 9, for two-digit products 10 to 99."""
    third: Range = (2, 9)
    """Smallest and largest third operand, of stories."""
    train_size: int = Field(default=0, ge=0)
    """Problems of the train split, at most; 0 for all."""
    test_size: int = Field(default=128, ge=1)
    """Problems of the test split."""
    seed: int = Field(default=0, ge=0)
    """Decides the order of the problems, and which of them are taken."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_tier(cls, table: Any) -> Any:
        # Filled in here and not when they are used, so that they stand in the resolved config.
        tier = TIERS.get(table.get("tier", "products")) if isinstance(table, dict) else None
        if tier is None:
            return table
        filled = {"prompt": tier.prompt(), "first": tier.first, "second": tier.second, **table}
        # Behind such a validator strict mode takes no array for a tuple any more.
        return {key: tuple(value) if isinstance(value, list) else value for key, value in filled.items()}

    @field_validator("first", "second", "third")
    @classmethod
    def _is_a_range(cls, bounds: Range) -> Range:
        if not 0 <= bounds[0] <= bounds[1] <= MAX_OPERAND:
            raise ValueError(f"must be [smallest, largest] with 0 <= smallest <= largest <= {MAX_OPERAND}")
        return bounds

    @model_validator(mode="after")
    def _can_be_listed(self) -> Arithmetic:
        size = TIERS[self.tier].size(self.first, self.second, self.third)
        if size > MAX_EXERCISES:
            raise ValueError(f"the ranges give {size:,} problems; at most {MAX_EXERCISES:,} are allowed")
        return self

    @property
    def grades_by_reference(self) -> bool:
        """True: the reference is the number."""
        return True

    def load_problems(self, split: Split) -> Sequence[Problem]:
        """Returns the problems of a split, all different, in the order of the seed; the solved examples are in none.

        Raises:
            ConfigError: when the ranges give fewer problems than `test_size`, or none to train on.
        """
        exercises = TIERS[self.tier].exercises(self.first, self.second, self.third)
        side = [exercise for exercise in exercises if exercise.split == split]
        random.Random(f"arithmetic/{self.seed}/{split}").shuffle(side)  # noqa: S311 - problems are not secrets
        wanted = self.test_size if split == "test" else self.train_size or max(1, len(side))
        if len(side) < wanted and (split == "test" or not side):
            raise ConfigError(
                f"[task] the ranges give {len(side)} {split} problems of tier '{self.tier}', {wanted} are needed; "
                "widen 'first' and 'second'"
            )
        return tuple(
            Problem(f"arithmetic-{split}-{index}", exercise.question, str(exercise.answer))
            for index, exercise in enumerate(side[:wanted])
        )

    def grade_many(self, answers: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """Returns a grade per pair: `correct`, `wrong`, or `no_answer` for a completion without a number."""
        return [self._grade(problem, text) for problem, text in answers]

    def _grade(self, problem: Problem, text: str) -> Grade:
        number = first_number(text)
        if number is None:
            return Grade("no_answer", 0.0, None, "no number found")
        if Fraction(number) == Fraction(problem.reference):
            return Grade("correct", self.max_reward, number, f"equals {problem.reference}")
        return Grade("wrong", 0.0, number, f"{number} is not {problem.reference}")


def first_number(text: str) -> str | None:
    """Returns the first decimal number of a completion without thousands separators, None where there is none.

    >>> first_number(" 1,340 pens, or 12"), first_number("about 8.75"), first_number("none")
    ('1340', '8.75', None)
    """
    found = _NUMBER.search(text[:_WINDOW])
    return found.group().replace(",", "") if found else None
