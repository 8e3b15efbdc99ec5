"""From groups and advantages to the tensors of a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class TokenRow:
    """One completion as tokens: prompt [L] and completion [T]."""

    prompt: NDArray[np.int64]
    completion: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingRow(TokenRow):
    """A completion with what the policy's loss needs of each token, [T]: the advantages as they enter the loss."""

    old_logprobs: NDArray[np.float32]
    advantages: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class ValuedRow(TrainingRow):
    """A completion with what the critic's loss needs of each token, [T], besides."""

    old_values: NDArray[np.float32]
    returns: NDArray[np.float32]


Row = TypeVar("Row", bound=TokenRow)


@dataclass(frozen=True, slots=True, eq=False)
class MicroBatch(Generic[Row]):
    """`rows` as tensors: `input_ids` [B, L] right-padded; the others [B, T] over completion tokens.

    `positions` are where in `input_ids` the hidden state stands that predicts each completion token.
    """

    rows: Sequence[Row]
    input_ids: Tensor
    tokens: Tensor
    positions: Tensor
    completion_mask: Tensor

    def per_token(self, values: Iterable[NDArray[np.float32]]) -> Tensor:
        """Returns values of each row's tokens as [B, T] on the batch's device, 0 in the padding."""
        return padded(values, self.tokens.shape[1]).to(self.tokens.device)

    def predicting(self, hidden: Tensor) -> Tensor:
        """Returns of hidden states [B, L, D] those [N, D] that stand before the N completion tokens."""
        mask = self.completion_mask
        rows = torch.arange(len(mask), device=mask.device)[:, None].expand_as(mask)
        return hidden[rows[mask], self.positions[mask]]

    def spread(self, values: Tensor) -> Tensor:
        """Returns values [N] of the completion tokens as [B, T], 0 in the padding; the way back from `predicting`."""
        return torch.zeros(self.tokens.shape, device=values.device).masked_scatter(self.completion_mask, values)


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


def micro_batches(rows: Sequence[Row], *, token_budget: int, device: torch.device) -> Iterator[MicroBatch[Row]]:
    """Yields the rows in micro-batches of at most `token_budget` tokens, padding included, long rows first.

    A row longer than the budget gets a micro-batch of its own.
    """
    ordered = sorted(rows, key=len, reverse=True)
    while ordered:
        fitting = max(1, token_budget // len(ordered[0]))
        yield pack(ordered[:fitting], device)
        ordered = ordered[fitting:]


def values_of(
    rows: Sequence[Row], function: Callable[[MicroBatch[Row]], Tensor], *, token_budget: int, device: torch.device
) -> list[NDArray[np.float32]]:
    """Returns for each row, in order, its tokens' part [T] of what a function makes of micro-batches, as [B, T]."""
    found: dict[int, NDArray[np.float32]] = {}
    for batch in micro_batches(rows, token_budget=token_budget, device=device):
        values = function(batch).float().cpu().numpy()
        for row, one in zip(batch.rows, values, strict=True):
            found[id(row)] = one[: len(row.completion)].copy()  # of its own: a view would keep the padding alive
    return [found[id(row)] for row in rows]


def pack(rows: Sequence[Row], device: torch.device) -> MicroBatch[Row]:
    """Returns rows as one micro-batch on a device."""
    longest = max(len(row) for row in rows)
    width = max(len(row.completion) for row in rows)
    input_ids = np.zeros((len(rows), longest), dtype=np.int64)
    tokens = np.zeros((len(rows), width), dtype=np.int64)
    positions, mask = np.zeros_like(tokens), np.zeros(tokens.shape, dtype=np.bool_)
    for i, row in enumerate(rows):
        start, length = len(row.prompt), len(row.completion)
        input_ids[i, : len(row)] = np.concatenate([row.prompt, row.completion])
        tokens[i, :length] = row.completion
        positions[i, :length] = np.arange(start - 1, start - 1 + length)
        mask[i, :length] = True
    return MicroBatch(
        rows=rows,
        input_ids=torch.from_numpy(input_ids[:, :-1]).to(device),  # the last token predicts nothing
        tokens=torch.from_numpy(tokens).to(device),
        positions=torch.from_numpy(positions).to(device),
        completion_mask=torch.from_numpy(mask).to(device),
    )


def padded(values: Iterable[NDArray[np.float32]], width: int) -> Tensor:
    """Returns arrays of different lengths as one tensor [B, width], 0 to their right."""
    arrays = list(values)
    out = np.zeros((len(arrays), width), dtype=np.float32)
    for i, array in enumerate(arrays):
        out[i, : len(array)] = array
    return torch.from_numpy(out)
