"""The tiers of the arithmetic task: wordings, ranges of operands, solved examples, and the side of the split."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

from ngrpo.choices import Split

TierName = Literal["sums", "products", "two_digit_products", "stories"]
Range: TypeAlias = tuple[int, int]
"""Smallest and largest value of an operand."""

TEST_SIDE_OF_FIVE = 2
"""Of five exercises so many lie on the test side of the split, whatever the seed and the ranges."""


@dataclass(frozen=True, slots=True)
class Wording:
    """A text with the operands `{a}`, `{b}` and possibly `{c}`, and the answer they have."""

    text: str
    answer: Callable[[int, int, int], int]
    operands: int = 2


@dataclass(frozen=True, slots=True)
class Exercise:
    """A wording with its operands; those that the wording does not use are 0."""

    wording: Wording
    operands: tuple[int, int, int]

    @property
    def question(self) -> str:
        """The text that the model completes, such as `37*6=`."""
        a, b, c = self.operands
        return self.wording.text.format(a=a, b=b, c=c)

    @property
    def answer(self) -> int:
        """The correct number."""
        return self.wording.answer(*self.operands)

    @property
    def split(self) -> Split:
        """The side of the split: a function of the question alone, so no seed or range mixes the two."""
        digest = hashlib.blake2b(self.question.encode(), digest_size=8, person=b"arithmetic").digest()
        return "test" if int.from_bytes(digest, "big") % 5 < TEST_SIDE_OF_FIVE else "train"


@dataclass(frozen=True, slots=True)
class Tier:
    """Wordings, default ranges of the first two operands, three solved examples, and what precedes their answers."""

    wordings: tuple[Wording, ...]
    first: Range
    second: Range
    examples: tuple[Exercise, ...]
    before_answer: str = ""

    def prompt(self) -> str:
        """Returns the default template: the solved examples, a line each, and the question."""
        lines = [f"{example.question}{self.before_answer}{example.answer}" for example in self.examples]
        return "\n".join([*lines, "{question}"])

    def exercises(self, first: Range, second: Range, third: Range) -> Iterator[Exercise]:
        """Yields every exercise with operands in these ranges and an answer of at least 0, but the solved examples."""
        shown = set(self.examples)
        for wording in self.wordings:
            last = range(third[0], third[1] + 1) if wording.operands == 3 else (0,)
            for operands in itertools.product(_values(first), _values(second), last):
                exercise = Exercise(wording, operands)
                if exercise.answer >= 0 and exercise not in shown:
                    yield exercise

    def size(self, first: Range, second: Range, third: Range) -> int:
        """Returns the number of exercises that `exercises` goes through, at most."""
        pairs = len(_values(first)) * len(_values(second))
        return sum(pairs * (len(_values(third)) if wording.operands == 3 else 1) for wording in self.wordings)


def _values(bounds: Range) -> range:
    return range(bounds[0], bounds[1] + 1)


_SUM = Wording("{a}+{b}=", lambda a, b, _: a + b)
_PRODUCT = Wording("{a}*{b}=", lambda a, b, _: a * b)
_MARBLES = Wording("Ann has {a} bags of {b} marbles and finds {c} more. Marbles in all:", lambda a, b, c: a * b + c, 3)
_APPLES = Wording("Tom has {a} apples, buys {b} and eats {c}. Apples left:", lambda a, b, c: a + b - c, 3)
_PAGES = Wording("Ben reads {a} pages a day for {b} days, then {c} more. Pages read:", lambda a, b, c: a * b + c, 3)
_COINS = Wording("Eve has {a} coins, spends {b} and earns {c}. Coins now:", lambda a, b, c: a - b + c, 3)

TIERS: Mapping[TierName, Tier] = MappingProxyType(
    {
        "sums": Tier(
            (_SUM,), (10, 59), (1, 9), tuple(Exercise(_SUM, (a, b, 0)) for a, b in ((23, 5), (41, 9), (34, 2)))
        ),
        "products": Tier(
            (_PRODUCT,), (10, 99), (2, 9), tuple(Exercise(_PRODUCT, (a, b, 0)) for a, b in ((12, 4), (23, 3), (51, 5)))
        ),
        "two_digit_products": Tier(
            (_PRODUCT,),
            (10, 99),
            (10, 99),
            tuple(Exercise(_PRODUCT, (a, b, 0)) for a, b in ((12, 14), (23, 31), (51, 15))),
        ),
        "stories": Tier(
            (_MARBLES, _APPLES, _PAGES, _COINS),
            (2, 9),
            (2, 9),
            (Exercise(_MARBLES, (5, 6, 4)), Exercise(_APPLES, (7, 3, 2)), Exercise(_COINS, (9, 4, 3))),
            before_answer=" ",
        ),
    }
)
"""A new tier is one line here and its name in `TierName`."""
