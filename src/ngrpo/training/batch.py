"""From groups and advantages to the tensors of a forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngrpo.types import Group


@dataclass(slots=True, eq=False)
class Row:
    """One completion to be trained on: prompt [L] and completion [T] tokens, old_logprobs [T], one advantage."""

    prompt: NDArray[np.int64]
    completion: NDArray[np.int64]
    old_logprobs: NDArray[np.float32]
    advantage: float

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


@dataclass(frozen=True, slots=True, eq=False)
class MicroBatch:
    """Rows as tensors: `input_ids` [B, L] right-padded; the rest [B, T] over completion tokens, but `advantages` [B].

    `positions` are where in `input_ids` the hidden state stands that predicts each completion token.
    """

    input_ids: Tensor
    tokens: Tensor
    positions: Tensor
    completion_mask: Tensor
    old_logprobs: Tensor
    advantages: Tensor


def rows_of(group: Group, advantages: Sequence[float]) -> list[Row]:
    """Returns the rows of a group; an ungraded completion is no evidence of anything and gets none."""
    return [
        Row(group.prompt_tokens, r.completion.tokens, r.completion.logprobs, advantage)
        for r, advantage in zip(group.rollouts, advantages, strict=True)
        if r.grade.graded
    ]


def split_into_updates(
    groups: Sequence[Sequence[Row]], *, updates: int, passes: int, seed: int, step: int
) -> list[list[Row]]:
    """Returns the rows of each update: every pass shuffles the whole groups and deals them out evenly.

    With fewer groups than updates in a pass there are as many updates as groups.

    Args:
        groups: the rows of each group of the step.
        updates: updates per step, a multiple of passes.
        passes: how often each group is trained on.
        seed: with `step`, decides the order.
        step: see `seed`.
    """
    per_pass = min(updates // passes, len(groups))
    parts: list[list[Row]] = []
    for number in range(passes if groups else 0):
        order = np.random.default_rng([seed, step, number]).permutation(len(groups))
        parts.extend([row for i in part for row in groups[i]] for part in np.array_split(order, per_pass))
    return parts


def micro_batches(rows: Sequence[Row], *, token_budget: int, device: torch.device) -> Iterator[MicroBatch]:
    """Yields the rows in micro-batches of at most `token_budget` tokens, padding included, long rows first.

    A row longer than the budget gets a micro-batch of its own.
    """
    ordered = sorted(rows, key=len, reverse=True)
    while ordered:
        fitting = max(1, token_budget // len(ordered[0]))
        yield pack(ordered[:fitting], device)
        ordered = ordered[fitting:]


def pack(rows: Sequence[Row], device: torch.device) -> MicroBatch:
    """Returns rows as one micro-batch on a device."""
    longest = max(len(row) for row in rows)
    width = max(len(row.completion) for row in rows)
    input_ids = np.zeros((len(rows), longest), dtype=np.int64)
    tokens = np.zeros((len(rows), width), dtype=np.int64)
    positions, mask = np.zeros_like(tokens), np.zeros(tokens.shape, dtype=np.bool_)
    old_logprobs = np.zeros(tokens.shape, dtype=np.float32)
    for i, row in enumerate(rows):
        start, length = len(row.prompt), len(row.completion)
        input_ids[i, : len(row)] = np.concatenate([row.prompt, row.completion])
        tokens[i, :length] = row.completion
        positions[i, :length] = np.arange(start - 1, start - 1 + length)
        mask[i, :length] = True
        old_logprobs[i, :length] = row.old_logprobs
    return MicroBatch(
        input_ids=torch.from_numpy(input_ids[:, :-1]).to(device),  # the last token predicts nothing
        tokens=torch.from_numpy(tokens).to(device),
        positions=torch.from_numpy(positions).to(device),
        completion_mask=torch.from_numpy(mask).to(device),
        old_logprobs=torch.from_numpy(old_logprobs).to(device),
        advantages=torch.tensor([row.advantage for row in rows], dtype=torch.float32, device=device),
    )
