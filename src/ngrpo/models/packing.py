"""How the tokens of groups are arranged in a pack: which follows which, and the blocks that attention works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MAX_PADDING = 0.08
"""Share of padding at which rows of different lengths are parted."""
_LEAST_PROMPTS, _LEAST_COMPLETIONS = 2048, 1024
"""Tokens of a block of attention, below which a block of its own would cost more than padding."""


@dataclass(frozen=True, slots=True, eq=False)
class CompletionBlock:
    """Completions [B, T] of one padded length, and which prompt of their prompts' block each belongs to, `prompts` [B].

    `start` is where the block begins among the padded tokens. `mask` is [B or 1, 1, T, L + T] and added to scores.
    """

    start: int
    shape: tuple[int, int]
    prompts: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class PromptBlock:
    """Prompts [P, L] of one padded length, where it begins among the padded tokens, and the blocks of completions."""

    start: int
    shape: tuple[int, int]
    completions: Sequence[CompletionBlock]


@dataclass(frozen=True, slots=True, eq=False)
class Packing:
    """How M packed tokens are arranged: their positions [1, M], and the K padded tokens of the blocks in order.

    `longest` is the largest position. `places` [M] are those of the packed tokens among the padded ones; None where
    there is no padding.
    """

    position_ids: Tensor
    longest: int
    blocks: Sequence[PromptBlock]
    padded_tokens: int
    places: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class _Completions:
    start: int
    length: int
    prompts: list[int]


@dataclass(frozen=True, slots=True, eq=False)
class _Prompts:
    start: int
    lengths: list[int]
    completions: list[_Completions]


class Arrangement:
    """Prompts and completions in the order in which they are packed.

    `order` has for each whether it is a prompt, and its index. `places` are, for each completion in that order, the
    places [T] in the pack of the token before each of its own; a completion's last token is not in the pack.
    """

    def __init__(self) -> None:
        self.order: list[tuple[bool, int]] = []
        self.places: list[NDArray[np.int64]] = []
        self._blocks: list[_Prompts] = []
        self._positions: list[NDArray[np.int64]] = []
        self._padded_places: list[NDArray[np.int64]] = []
        self._packed = self._padded = 0

    def packing(self, device: torch.device) -> Packing:
        """Returns what attention must know, on a device."""
        blocks = []
        for prompts in self._blocks:
            lengths, widest = np.array(prompts.lengths), prompts.lengths[0]
            few = [
                CompletionBlock(
                    block.start,
                    (len(block.prompts), block.length),
                    torch.tensor(block.prompts, device=device),
                    torch.from_numpy(_mask(lengths[block.prompts], widest, block.length)).to(device),
                )
                for block in prompts.completions
            ]
            blocks.append(PromptBlock(prompts.start, (len(lengths), widest), few))
        positions, places = np.concatenate(self._positions), np.concatenate(self._padded_places)
        return Packing(
            torch.from_numpy(positions)[None].to(device),
            int(positions.max()),
            blocks,
            self._padded,
            None if self._padded == self._packed else torch.from_numpy(places).to(device),
        )

    def add_prompts(self, prompts: Sequence[int], lengths: Sequence[int]) -> dict[int, int]:
        """Adds a block of prompts, longest first; returns the place of each one's last token."""
        last = {}
        self._blocks.append(_Prompts(self._padded, [lengths[i] for i in prompts], []))
        for i in prompts:
            self._add(True, i, lengths[i], lengths[prompts[0]], 0)
            last[i] = self._packed - 1
        return last

    def add_completions(
        self, rows: Sequence[int], prompts: Sequence[int], lengths: Sequence[int], last: Sequence[int]
    ) -> None:
        """Adds a block of completions, longest first, to the last block of prompts.

        Args:
            rows: their indices.
            prompts: of each of these, the number of its prompt in the block.
            lengths: of each of these, its tokens without the last.
            last: of each of these, the place of its prompt's last token.
        """
        block = self._blocks[-1]
        if lengths[0]:
            block.completions.append(_Completions(self._padded, lengths[0], list(prompts)))
        for i, prompt, length, before in zip(rows, prompts, lengths, last, strict=True):
            self.places.append(np.concatenate([[before], self._packed + np.arange(length)]))
            self._add(False, i, length, lengths[0], block.lengths[prompt])

    def _add(self, is_prompt: bool, index: int, length: int, width: int, first_position: int) -> None:
        self.order.append((is_prompt, index))
        self._positions.append(first_position + np.arange(length))
        self._padded_places.append(self._padded + np.arange(length))
        self._packed += length
        self._padded += width


def arrange(prompt_lengths: Sequence[int], prompt_of: Sequence[int], completion_lengths: Sequence[int]) -> Arrangement:
    """Returns prompts and their completions arranged in blocks of similar lengths.

    Args:
        prompt_lengths: tokens of each prompt.
        prompt_of: index of each completion's prompt.
        completion_lengths: tokens of each completion, at least 1.
    """
    out = Arrangement()
    rows_of: list[list[int]] = [[] for _ in prompt_lengths]
    for row, prompt in enumerate(prompt_of):
        rows_of[prompt].append(row)
    prompts = sorted(range(len(prompt_lengths)), key=lambda i: -prompt_lengths[i])
    while prompts:
        count = similar([prompt_lengths[i] for i in prompts], least=_LEAST_PROMPTS)
        block, prompts = prompts[:count], prompts[count:]
        last = out.add_prompts(block, prompt_lengths)
        place = {prompt: i for i, prompt in enumerate(block)}
        rows = sorted((row for i in block for row in rows_of[i]), key=lambda row: -completion_lengths[row])
        while rows:
            lengths = [completion_lengths[row] - 1 for row in rows]
            count = similar(lengths, least=_LEAST_COMPLETIONS)
            few, rows = rows[:count], rows[count:]
            of = [prompt_of[row] for row in few]
            out.add_completions(few, [place[i] for i in of], lengths[:count], [last[i] for i in of])
    return out


def similar(lengths: Sequence[int], *, least: int) -> int:
    """Returns how many of falling lengths are put together: until padding would be above MAX_PADDING.

    Args:
        lengths: of rows, longest first, at least one.
        least: tokens, padding included, below which padding does not matter.
    """
    tokens = 0
    for count, length in enumerate(lengths, start=1):
        tokens += length
        size = count * lengths[0]
        if size > least and size - tokens > MAX_PADDING * size:
            return count - 1
    return len(lengths)


def _mask(prompt_lengths: NDArray[np.int64], widest: int, length: int) -> NDArray[np.float32]:
    """Returns what is added to the scores [B or 1, 1, T, L + T] of completions over padded prompts and themselves."""
    shown = np.tri(length, dtype=np.bool_)[None]
    if (prompt_lengths == widest).all():
        allowed = np.concatenate([np.ones((1, length, widest), dtype=np.bool_), shown], axis=2)
    else:
        of_prompt = np.arange(widest) < prompt_lengths[:, None, None]
        shapes = (len(prompt_lengths), length)
        allowed = np.concatenate(
            [np.broadcast_to(of_prompt, (*shapes, widest)), np.broadcast_to(shown, (*shapes, length))], axis=2
        )
    return np.where(allowed, np.float32(0), np.float32(-np.inf))[:, None]
