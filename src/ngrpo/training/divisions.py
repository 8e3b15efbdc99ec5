"""What is divided among ranks: the groups of a round, blocks of requests, and the rows that the models read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from ngrpo.sampling import Prompt, Request
from ngrpo.training.batch import TokenRow
from ngrpo.training.ranks import Division
from ngrpo.training.rollout_journal import completion_of, completion_record
from ngrpo.types import Completion, Grade, Group, Rollout

Floats = NDArray[np.float32]


class _Groups(Division[Prompt, Group]):
    """A group for each prompt; neighbours go to different ranks."""

    def parts(self, items: Sequence[Prompt], count: int) -> list[list[int]]:
        """Returns every `count`-th prompt for each rank."""
        return dealt(len(items), count)

    def pack(self, results: Sequence[Group]) -> bytes:
        """Returns completions and grades as JSON."""
        return json.dumps(
            [
                [[r.sample, completion_record(r.completion), asdict(r.grade)] for r in group.rollouts]
                for group in results
            ]
        ).encode()

    def unpack(self, data: bytes, items: Sequence[Prompt]) -> list[Group]:
        """Returns the groups of prompts."""
        return [
            Group(
                prompt.problem,
                prompt.tokens,
                tuple(
                    Rollout(prompt.problem, sample, completion_of(c), Grade(**grade)) for sample, c, grade in rollouts
                ),
                prompt.text,
            )
            for prompt, rollouts in zip(items, json.loads(data), strict=True)
        ]


class _Blocks(Division[Sequence[Request], Sequence[Completion]]):
    """The completions of blocks of requests."""

    def parts(self, items: Sequence[Sequence[Request]], count: int) -> list[list[int]]:
        """Returns every `count`-th block for each rank."""
        return dealt(len(items), count)

    def pack(self, results: Sequence[Sequence[Completion]]) -> bytes:
        """Returns completions as JSON."""
        return json.dumps([[completion_record(one) for one in block] for block in results]).encode()

    def unpack(self, data: bytes, items: Sequence[Sequence[Request]]) -> list[Sequence[Completion]]:
        """Returns the completions of each block."""
        blocks = zip(items, json.loads(data), strict=True)
        return [[completion_of(one) for _, one in zip(block, records, strict=True)] for block, records in blocks]


class _RowValues(Division[TokenRow, Floats]):
    """Values [T] of the tokens of each row. The rows of a prompt stay together, for they share its computation."""

    def parts(self, items: Sequence[TokenRow], count: int) -> list[list[int]]:
        """Returns about as many tokens for each rank: the largest groups first, each to the rank with the least."""
        by_prompt: dict[bytes, list[int]] = {}
        for i, row in enumerate(items):
            by_prompt.setdefault(row.prompt.tobytes(), []).append(i)
        tokens = {key: sum(len(items[i]) for i in members) for key, members in by_prompt.items()}
        parts, loads = [list[int]() for _ in range(count)], [0] * count
        for key in sorted(by_prompt, key=lambda key: (-tokens[key], by_prompt[key][0])):
            rank = loads.index(min(loads))
            parts[rank] += by_prompt[key]
            loads[rank] += tokens[key]
        return [sorted(part) for part in parts]

    def pack(self, results: Sequence[Floats]) -> bytes:
        """Returns the values of all rows in a row, as little-endian float32."""
        return np.concatenate(results).astype("<f4").tobytes()

    def unpack(self, data: bytes, items: Sequence[TokenRow]) -> list[Floats]:
        """Returns the values of each row."""
        values = np.frombuffer(data, dtype="<f4").astype(np.float32)
        ends = np.cumsum([len(row.completion) for row in items])
        return list(np.split(values, ends[:-1]))


def dealt(size: int, count: int) -> list[list[int]]:
    """Returns the numbers below `size`, dealt out in turn.

    >>> dealt(5, 2)
    [[0, 2, 4], [1, 3]]
    """
    return [list(range(number, size, count)) for number in range(count)]


GROUPS, BLOCKS, ROW_VALUES = _Groups(), _Blocks(), _RowValues()
