"""Countdown puzzles: random expressions over random numbers, and the side of the split that each lies on."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from ngrpo.choices import Split
from ngrpo.tasks.countdown.expressions import OPERATORS, Expression, Operation, combine

TEST_SIDE_OF = 4
"""One problem in so many lies on the test side of the split, whatever the seed and the settings."""


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A generated problem: the numbers in ascending order, the target, the expression that made it."""

    numbers: tuple[int, ...]
    target: int
    solution: Expression

    @property
    def split(self) -> Split:
        """The side of the split: a matter of numbers and target alone, so no seed or size mixes the two."""
        key = f"{self.numbers}={self.target}".encode()
        digest = hashlib.blake2b(key, digest_size=8, person=b"countdown").digest()
        return "test" if int.from_bytes(digest, "big") % TEST_SIDE_OF == 0 else "train"


def problem_rng(seed: int, split: Split, index: int) -> random.Random:
    """Returns the random stream of one problem; no other problem uses it."""
    return random.Random(f"countdown/{seed}/{split}/{index}")  # noqa: S311 - problems are not secrets


def random_expression(rng: random.Random, numbers: Sequence[int]) -> tuple[Expression, Fraction | None]:
    """Returns an expression that uses each number once, and its value, None where it divides by zero.

    Two random operands are joined by a random operator until one is left: every shape and order can occur.
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
