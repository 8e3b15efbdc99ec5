"""From groups and advantages to the tensors of a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngrpo.kept_tokens import KeptSets
from ngrpo.models.packing import Packing, arrange, similar
from ngrpo.types import KeptTokens


@dataclass(frozen=True, slots=True, eq=False)
class TokenRow:
    """One completion as tokens: prompt [L], completion [T], and what truncated sampling kept; None for all."""

    prompt: NDArray[np.int64]
    completion: NDArray[np.int64]
    kept: KeptTokens | None = field(default=None, kw_only=True)

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
    """`rows` as tensors; N is the number of their completion tokens, row after row.

    `input_ids` are [B, L] right-padded, or [1, M] packed as `packing` says, each prompt once. `tokens` [N] are the
    completions', `places` [N] where in the flattened `input_ids` the token before each stands. `completion_mask` is
    [B, T] bool.
    """

    rows: Sequence[Row]
    input_ids: Tensor
    packing: Packing | None
    tokens: Tensor
    places: Tensor
    completion_mask: Tensor

    def rows_of_tokens(self, values: Tensor) -> Tensor:
        """Returns of values [B * L, ...] of the places of `input_ids` those of tokens, without those of padding."""
        if self.packing is not None:
            return values
        lengths = torch.tensor([len(row) - 1 for row in self.rows], device=values.device)
        real = torch.arange(self.input_ids.shape[1], device=values.device) < lengths[:, None]
        return values[real.flatten()]

    @property
    def kept(self) -> KeptSets | None:
        """What truncated sampling kept at the places of `tokens`; None where it kept all.

        Either all rows of a run have it or none.
        """
        kept = [row.kept for row in self.rows if row.kept is not None]
        if not kept:
            return None
        device = self.tokens.device
        counts, tokens = (np.concatenate(parts) for parts in zip(*((k.counts, k.tokens) for k in kept), strict=True))
        return KeptSets.of_counts(torch.from_numpy(counts).to(device), torch.from_numpy(tokens).to(device))

    def split_kept(self, sets: KeptSets) -> list[KeptTokens]:
        """Returns of the sets of the N tokens those of each row."""
        counts = np.split(sets.counts.cpu().numpy().astype(np.int32), self.ends())
        tokens = np.split(sets.tokens.cpu().numpy().astype(np.int32), np.cumsum([part.sum() for part in counts])[:-1])
        return [KeptTokens(*both) for both in zip(counts, tokens, strict=True)]

    def ends(self) -> NDArray[np.int64]:
        """Where each row but the last ends among the N tokens."""
        return np.cumsum([len(row.completion) for row in self.rows])[:-1]

    def flat(self, values: Iterable[NDArray[np.float32]]) -> Tensor:
        """Returns values [T] of each row's tokens as [N] on the batch's device."""
        return torch.from_numpy(np.concatenate(list(values))).to(self.tokens.device)

    def per_token(self, values: Iterable[NDArray[np.float32]]) -> Tensor:
        """Returns values [T] of each row's tokens as [B, T] on the batch's device, 0 in the padding."""
        return padded(values, self.completion_mask.shape[1]).to(self.tokens.device)

    def predicting(self, hidden: Tensor) -> Tensor:
        """Returns of the hidden states of `input_ids` those [N, D] that stand before the completion tokens."""
        return hidden.flatten(0, 1).index_select(0, self.places)

    def spread(self, values: Tensor) -> Tensor:
        """Returns values [N] of the completion tokens as [B, T], 0 in the padding."""
        return values.new_zeros(self.completion_mask.shape).masked_scatter(self.completion_mask, values)


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


def micro_batches(
    rows: Sequence[Row], *, token_budget: int, device: torch.device, packed: bool = False
) -> Iterator[MicroBatch[Row]]:
    """Yields the rows in micro-batches of at most `token_budget` tokens; a longer row gets one of its own.

    Args:
        rows: in any order.
        token_budget: padding included.
        device: where the tensors are put.
        packed: without padding, and each prompt once for the rows that have it; else long rows first, and each
            micro-batch ends where its rows would get too much padding.
    """
    for part in _packed_parts(rows, token_budget) if packed else _padded_parts(rows, token_budget):
        yield pack(part, device) if packed else pad(part, device)


def _padded_parts(rows: Sequence[Row], token_budget: int) -> Iterator[list[Row]]:
    ordered = sorted(rows, key=len, reverse=True)
    while ordered:
        fitting = max(1, token_budget // len(ordered[0]))
        count = similar([len(row) for row in ordered[:fitting]], least=0)
        yield ordered[:count]
        ordered = ordered[count:]


def _packed_parts(rows: Sequence[Row], token_budget: int) -> Iterator[list[Row]]:
    by_prompt: dict[bytes, list[Row]] = {}
    for row in rows:
        by_prompt.setdefault(row.prompt.tobytes(), []).append(row)
    part: list[Row] = []
    used = 0
    for group in by_prompt.values():
        new_prompt = True
        for row in group:
            if part and used + len(row.completion) + (len(row.prompt) if new_prompt else 0) > token_budget:
                yield part
                part, used, new_prompt = [], 0, True
            part.append(row)
            used += len(row.completion) + (len(row.prompt) if new_prompt else 0)
            new_prompt = False
    if part:
        yield part


def values_of(
    rows: Sequence[Row],
    function: Callable[[MicroBatch[Row]], Tensor],
    *,
    token_budget: int,
    device: torch.device,
    packed: bool = False,
) -> list[NDArray[np.float32]]:
    """Returns for each row, in order, its tokens' part [T] of what a function makes of micro-batches, as [N]."""
    found: dict[int, NDArray[np.float32]] = {}
    for batch in micro_batches(rows, token_budget=token_budget, device=device, packed=packed):
        parts = np.split(function(batch).float().cpu().numpy(), batch.ends())
        for row, values in zip(batch.rows, parts, strict=True):
            found[id(row)] = values
    return [found[id(row)] for row in rows]


def pad(rows: Sequence[Row], device: torch.device) -> MicroBatch[Row]:
    """Returns rows as one micro-batch on a device, padded on the right."""
    input_ids = np.zeros((len(rows), max(map(len, rows)) - 1), dtype=np.int64)  # the last token predicts nothing
    places = []
    for i, row in enumerate(rows):
        input_ids[i, : len(row) - 1] = np.concatenate([row.prompt, row.completion[:-1]])
        places.append(i * input_ids.shape[1] + len(row.prompt) - 1 + np.arange(len(row.completion)))
    return _micro_batch(rows, input_ids, places, None, device)


def pack(rows: Sequence[Row], device: torch.device) -> MicroBatch[Row]:
    """Returns rows as one micro-batch on a device, without padding and with each prompt once; it reorders them."""
    prompts = {row.prompt.tobytes(): row.prompt for row in rows}
    number = {key: i for i, key in enumerate(prompts)}
    of_number = list(prompts.values())
    arranged = arrange(
        [len(prompt) for prompt in of_number],
        [number[row.prompt.tobytes()] for row in rows],
        [len(row.completion) for row in rows],
    )
    parts = [of_number[i] if is_prompt else rows[i].completion[:-1] for is_prompt, i in arranged.order]
    ordered = [rows[i] for is_prompt, i in arranged.order if not is_prompt]
    return _micro_batch(ordered, np.concatenate(parts)[None], arranged.places, arranged.packing(device), device)


def _micro_batch(
    rows: Sequence[Row],
    input_ids: NDArray[np.int64],
    places: Sequence[NDArray[np.int64]],
    packing: Packing | None,
    device: torch.device,
) -> MicroBatch[Row]:
    lengths = np.array([len(row.completion) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]
    return MicroBatch(
        rows=rows,
        input_ids=torch.from_numpy(input_ids).to(device),
        packing=packing,
        tokens=torch.from_numpy(np.concatenate([row.completion for row in rows])).to(device),
        places=torch.from_numpy(np.concatenate(places)).to(device),
        completion_mask=torch.from_numpy(mask).to(device),
    )


def padded(values: Iterable[NDArray[np.float32]], width: int) -> Tensor:
    """Returns arrays of different lengths as one tensor [B, width], 0 to their right."""
    arrays = list(values)
    out = np.zeros((len(arrays), width), dtype=np.float32)
    for i, array in enumerate(arrays):
        out[i, : len(array)] = array
    return torch.from_numpy(out)
