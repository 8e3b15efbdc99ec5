r"""Countdown: combine a few numbers with + - * /, each exactly once, to reach a target.

Every problem can be solved: its target is the value of a random expression over its numbers. The shipped
model reads `2 7 9 12 = 23 :` and answers in postfix, `2 9 * 12 + 7 -`, a token per number; with
`notation = "infix"` a model of the hub is asked in plain English and answers in `\boxed{}`.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from ngrpo.choices import Split
from ngrpo.errors import ConfigError, DataError
from ngrpo.tasks.expressions import (
    OPERATORS,
    Expression,
    ExpressionError,
    Operation,
    combine,
    numbers_in,
    parse_infix,
    parse_postfix,
    plain_operators,
    to_infix,
    value_of,
)
from ngrpo.tasks.on_demand import ProblemsOnDemand
from ngrpo.tasks.task import Task
from ngrpo.types import Grade, Problem

PROMPTS = {
    "postfix": "{question} :",
    "infix": (
        "Combine the given numbers with +, -, * and / to reach the target. Use each number exactly once; "
        "parentheses are allowed.\n{question}\nThink step by step and put only the expression in \\boxed{}."
    ),
}
"""Default prompt of each notation."""

TEST_SIDE_OF = 4
"""One problem in so many lies on the test side of the split, whatever the seed and the settings."""
MAX_DRAWS = 20_000
"""Random expressions tried for one problem before the settings are called impossible."""
MAX_ANSWER_CHARACTERS = 200
"""Longest `Grade.answer`; what is longer is cut."""

_ANSWER_WINDOW = 1_000
_TAIL_WINDOW = 20_000
_DIGIT = re.compile("[0-9]")
_HAS_OPERATION = re.compile(r"[0-9)}]\s*(?:[-+*/×÷−·]|\\times|\\div|\\cdot)\s*[0-9({\\]|\\[dt]?frac")


@dataclass(frozen=True, slots=True)
class Draw:
    """A problem as it is drawn: the numbers in ascending order, the target, the expression that made it."""

    numbers: tuple[int, ...]
    target: int
    solution: Expression

    @property
    def split(self) -> Split:
        """The side of the split: a matter of numbers and target alone, so no seed or size mixes the two."""
        key = f"{self.numbers}={self.target}".encode()
        digest = hashlib.blake2b(key, digest_size=8, person=b"countdown").digest()
        return "test" if int.from_bytes(digest, "big") % TEST_SIDE_OF == 0 else "train"


class Countdown(Task):
    """Problems of random numbers with a target that some expression reaches, checked by exact arithmetic."""

    label: ClassVar[str] = "Countdown"

    name: Literal["countdown"] = "countdown"
    """The spec that chose this task."""
    prompt: str = PROMPTS["postfix"]
    """Template of the user's message; by default `{question} :` for postfix and plain English for infix."""
    numbers: int = Field(default=4, ge=3, le=6)
    """How many numbers a problem has, 3 to 6."""
    max_number: int = Field(default=13, ge=1, le=999)
    """Numbers are drawn from 1 to this, with repetition; the shipped model knows 0 to 60."""
    max_target: int = Field(default=60, ge=1, le=9_999)
    """Targets are whole numbers from 0 to this; the shipped model knows 0 to 60."""
    tier: Literal["all", "hard"] = "all"
    """`hard` keeps only problems that + and - alone cannot solve."""
    notation: Literal["postfix", "infix"] = "postfix"
    """How the model writes expressions; also decides the wording of the question and the default prompt."""
    train_size: int = Field(default=20_000, ge=1, le=100_000_000)
    """Problems of the train split; each is drawn by itself, so that some coincide (2 % of 1,000)."""
    test_size: int = Field(default=1_024, ge=1, le=100_000)
    """Problems of the test split, all different."""
    seed: int = Field(default=0, ge=0)
    """Seed of the problems; problem i is rebuilt from it and i alone."""

    @model_validator(mode="before")
    @classmethod
    def _default_prompt(cls, table: Any) -> Any:
        # Filled in here and not when it is used, so that it stands in the resolved config.
        if isinstance(table, dict) and "prompt" not in table and table.get("notation") == "infix":
            return {**table, "prompt": PROMPTS["infix"]}
        return table

    def load_problems(self, split: Split) -> Sequence[Problem]:
        """Returns the problems of a split; the train split is lazy, the test split is drawn at once.

        Raises:
            ConfigError: when the settings admit no problem, or fewer different ones than `test_size`.
        """
        if split == "test":
            return _distinct_problems(self)
        train = ProblemsOnDemand(self.train_size, self._train_problem)
        _ = train[0]  # impossible settings are found here, not in the middle of a run
        return train

    def _train_problem(self, index: int) -> Problem:
        return self.problem("train", index, self.draw(problem_rng(self.seed, "train", index), "train"))

    def draw(self, rng: random.Random, split: Split) -> Draw:
        """Returns a random problem of one side of the split, with the expression that made it.

        Raises:
            ConfigError: when none is found in `MAX_DRAWS` tries.
        """
        for _ in range(MAX_DRAWS):
            numbers = [rng.randint(1, self.max_number) for _ in range(self.numbers)]
            expression, value = random_expression(rng, numbers)
            if value is None or value.denominator != 1 or not 0 <= value <= self.max_target:
                continue
            drawn = Draw(tuple(sorted(numbers)), int(value), expression)
            if drawn.split == split and (self.tier == "all" or needs_product(drawn.numbers, drawn.target)):
                return drawn
        raise ConfigError(f"{MAX_DRAWS} draws gave no {split} problem for {self._range}; widen the ranges")

    def problem(self, split: Split, index: int, drawn: Draw) -> Problem:
        """Returns a draw as the problem with that index."""
        if self.notation == "postfix":
            question = f"{' '.join(map(str, drawn.numbers))} = {drawn.target}"
        else:
            question = f"Numbers: {', '.join(map(str, drawn.numbers))}. Target: {drawn.target}."
        return Problem(
            id=f"countdown-{split}-{index}",
            question=question,
            reference=to_infix(drawn.solution),
            metadata={"numbers": list(drawn.numbers), "target": drawn.target},
        )

    def grade_many(self, answers: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """Returns a grade per pair: `correct`, `wrong` with the rule that was broken, or `no_answer`."""
        return [self._grade(problem, text) for problem, text in answers]

    def readable(self, answer: str) -> str:
        """Returns the expression in infix with the fewest parentheses; what cannot be read stays as it is.

        >>> Countdown().readable("2 9 7 + *")
        '2 * (9 + 7)'
        """
        try:
            return to_infix(self._parse(answer))
        except ExpressionError:
            return answer

    @property
    def _range(self) -> str:
        hard = "hard, " if self.tier == "hard" else ""
        return f"{hard}{self.numbers} numbers up to {self.max_number}, target up to {self.max_target}"

    def _parse(self, answer: str) -> Expression:
        return parse_postfix(answer) if self.notation == "postfix" else parse_infix(answer)

    def _grade(self, problem: Problem, text: str) -> Grade:
        try:
            numbers, target = (
                [int(number) for number in problem.metadata["numbers"]],
                int(problem.metadata["target"]),
            )
        except (KeyError, TypeError, ValueError):
            raise DataError(
                f"problem '{problem.id}' is not a Countdown problem: metadata lacks numbers, target"
            ) from None
        answer = find_postfix(text) if self.notation == "postfix" else find_infix(text)
        if not answer:
            return Grade("no_answer", 0.0, None, "no expression found")
        shown = answer[:MAX_ANSWER_CHARACTERS]
        try:
            stated = answer if self.notation == "postfix" else _expression_part(answer, target)
            fault = _fault(self._parse(stated), numbers, target)
        except ExpressionError as error:
            fault = str(error)
        if fault:
            return Grade("wrong", 0.0, shown, fault)
        return Grade("correct", self.max_reward, shown, f"value {target}")


def problem_rng(seed: int, split: Split, index: int) -> random.Random:
    """Returns the random stream of one problem; no other problem draws from it."""
    return random.Random(f"countdown/{seed}/{split}/{index}")  # noqa: S311 - problems are not secrets


def random_expression(rng: random.Random, numbers: Sequence[int]) -> tuple[Expression, Fraction | None]:
    """Returns an expression that uses each number once, and its value, None where it divides by zero.

    Two operands are drawn and joined by a random operator until one is left: every shape and order can occur.
    """
    pool: list[tuple[Expression, Fraction | None]] = [(number, Fraction(number)) for number in numbers]
    while len(pool) > 1:
        left, left_value = pool.pop(rng.randrange(len(pool)))
        right, right_value = pool.pop(rng.randrange(len(pool)))
        operator = OPERATORS[rng.randrange(len(OPERATORS))]
        if left_value is None or right_value is None or (operator == "/" and right_value == 0):
            value = None
        else:
            value = combine(operator, left_value, right_value)
        pool.append((Operation(operator, left, right), value))
    return pool[0]


def needs_product(numbers: Sequence[int], target: int) -> bool:
    """True when + and - alone cannot reach the target.

    With them an expression is a signed sum in which at least one number, the first, has a plus. All minus
    needs no exception: its sum is negative, and no target is.

    >>> needs_product([2, 7, 9], 4), needs_product([2, 7, 9], 5)
    (False, True)
    """
    sums = {0}
    for number in numbers:
        sums = {total + sign * number for total in sums for sign in (1, -1)}
    return target not in sums


def find_postfix(text: str) -> str:
    """Returns the whole text, trimmed, or "" when it holds no number."""
    return text.strip() if _DIGIT.search(text) else ""


def find_infix(text: str) -> str:
    r"""Returns the expression that an infix answer states, or "" when there is none.

    It is the content of the last `\boxed{}`, else of the last `<answer></answer>`, else the last line with an
    operation, without a label before a colon. A box or tag that is never closed states nothing.

    >>> find_infix(r"First 2 * 9 = 18, so \boxed{2 * 9 + 7}.")
    '2 * 9 + 7'
    >>> find_infix("I think\nAnswer: 2 * 9 + 7 = 25.\nDone")
    '2 * 9 + 7 = 25'
    """
    box = text.rfind("\\boxed{")
    if box >= 0:
        return _braced(text[box + len("\\boxed{") :][:_ANSWER_WINDOW])
    tag = text.rfind("<answer>")
    if tag >= 0:
        content, closed, _ = text[tag + len("<answer>") :][:_ANSWER_WINDOW].partition("</answer>")
        return content.strip() if closed else ""
    for line in reversed(text[-_TAIL_WINDOW:].splitlines()):
        if _HAS_OPERATION.search(line):
            return line.rpartition(":")[2].strip(" \t.$`*")
    return ""


def _distinct_problems(task: Countdown) -> tuple[Problem, ...]:
    seen: set[tuple[tuple[int, ...], int]] = set()
    problems: list[Problem] = []
    for index in range(task.test_size):
        drawn = _new_draw(task, index, seen)
        seen.add((drawn.numbers, drawn.target))
        problems.append(task.problem("test", index, drawn))
    return tuple(problems)


def _new_draw(task: Countdown, index: int, seen: set[tuple[tuple[int, ...], int]]) -> Draw:
    # A repetition is drawn again, so problem i depends on those before it, but never on how many come after.
    rng = problem_rng(task.seed, "test", index)
    for _ in range(MAX_DRAWS // 10):
        drawn = task.draw(rng, "test")
        if (drawn.numbers, drawn.target) not in seen:
            return drawn
    raise ConfigError(
        f"no more than {index} different test problems for {task._range}: 'test_size' is {task.test_size}"
    )


def _braced(text: str) -> str:
    depth = 1
    for position, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return text[:position].strip()
    return ""


def _expression_part(answer: str, target: int) -> str:
    plain = plain_operators(answer).strip(" \t\n$.")
    expression, equals, stated = plain.rpartition("=")
    return expression if equals and stated.strip() == str(target) else plain


def _fault(expression: Expression, numbers: Sequence[int], target: int) -> str:
    given, used = Counter(numbers), Counter(numbers_in(expression))
    for number in used:
        if number not in given:
            return f"uses {number}, which is not given"
        if used[number] > given[number]:
            return f"uses {number} {'twice' if used[number] == 2 else f'{used[number]} times'}"
    for number in given:
        if used[number] < given[number]:
            return f"does not use {number}" + (" often enough" if used[number] else "")
    value = value_of(expression)
    return "" if value == target else f"value {value} != {target}"
