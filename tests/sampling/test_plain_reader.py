from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ngrpo.sampling.cached_forward import RowMoves
from ngrpo.sampling.plain_reader import Places, SharedPrompts, attention, attention_by_products

HEADS, GROUP, SIZE = 2, 3, 4
CPU = torch.device("cpu")


def attention_of_one(query: Tensor, keys: Tensor, values: Tensor, scaling: float) -> tuple[Tensor, float]:
    """A query [d] over keys and values [T, d], by loops."""
    scores = [scaling * float(query.double() @ key.double()) for key in keys]
    total = sum(math.exp(score) for score in scores)
    out = sum(math.exp(score) / total * value.double() for score, value in zip(scores, values, strict=True))
    return out.float(), math.log(total)


@pytest.mark.parametrize("work", [attention, attention_by_products])
@pytest.mark.parametrize("queries", [1, 3, 40])
def test_attention_and_its_weight_equal_loops(queries: int, work: Any) -> None:
    torch.manual_seed(queries)
    query, key, value = torch.randn(2, HEADS, queries, SIZE), torch.randn(2, HEADS, 5, SIZE), torch.randn(2, 2, 5, SIZE)
    mask = torch.zeros(2, 1, 1, 5)
    mask[1, ..., :2] = -math.inf
    out, weight = work(query, key, value, mask, 0.7)
    for row, first in ((0, 0), (1, 2)):
        for head in range(HEADS):
            for n in range(queries):
                wanted, log_total = attention_of_one(
                    query[row, head, n], key[row, head, first:], value[row, head, first:], 0.7
                )
                assert torch.allclose(out[row, head, n], wanted, atol=1e-5)
                assert float(weight[row, head, n]) == pytest.approx(log_total, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rows_that_leave_and_move_attend_to_what_is_theirs(data: st.DataObject) -> None:
    lengths = np.array(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=5)))
    copies = data.draw(st.lists(st.integers(1, 5), min_size=len(lengths), max_size=len(lengths)))
    places = Places.of(copies)
    torch.manual_seed(data.draw(st.integers(0, 100)))
    widest = int(lengths.max())
    keys, values = (torch.randn(len(lengths), HEADS, widest, SIZE) for _ in range(2))
    parts = [(keys[places.prompts], values[places.prompts])]
    shared = SharedPrompts(parts, places, lengths=lengths[places.prompts], limit=200, scaling=0.5)
    prompt_of = np.arange(len(copies)).repeat(copies)
    seen = [(keys[p, :, widest - lengths[p] :], values[p, :, widest - lengths[p] :]) for p in prompt_of]
    for _ in range(data.draw(st.integers(1, 4))):
        query = torch.randn(len(seen), HEADS * GROUP, SIZE)
        key, value = torch.randn(2, len(seen), HEADS, SIZE)
        out = shared.attend(0, query, key, value).view(len(seen), HEADS * GROUP, SIZE)
        seen = [
            (torch.cat([k, key[i][:, None]], dim=1), torch.cat([v, value[i][:, None]], dim=1))
            for i, (k, v) in enumerate(seen)
        ]
        for row, (k, v) in enumerate(seen):
            for head in range(HEADS * GROUP):
                wanted, _ = attention_of_one(query[row, head], k[head // GROUP], v[head // GROUP], 0.5)
                assert torch.allclose(out[row, head], wanted, atol=1e-5)
        rows = np.array(data.draw(st.lists(st.integers(0, len(seen) - 1), min_size=1, max_size=len(seen), unique=True)))
        shared.keep(RowMoves.of(rows, len(seen), CPU), rows)
        seen = [seen[row] for row in rows]


def test_keys_of_another_precision_are_read_in_that_of_the_values() -> None:
    torch.manual_seed(0)
    keys, values = torch.randn(2, HEADS, 5, SIZE), torch.randn(2, HEADS, 5, SIZE).bfloat16()
    shared = SharedPrompts([(keys, values)], Places.of([2, 1]), lengths=np.array([5, 3]), limit=9, scaling=0.5)
    key, value = torch.randn(3, HEADS, SIZE), torch.randn(3, HEADS, SIZE).bfloat16()
    query = torch.randn(3, HEADS * GROUP, SIZE)
    out = shared.attend(0, query, key, value)
    assert out.dtype == torch.bfloat16
    k, v = torch.cat([keys[1, :, 2:], key[2][:, None]], dim=1), torch.cat([values[1, :, 2:], value[2][:, None]], dim=1)
    wanted, _ = attention_of_one(query[2, 4], k[1], v[1], 0.5)
    assert torch.allclose(out[2].float().view(-1, SIZE)[4], wanted, atol=0.05)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_every_row_has_a_place_of_its_own_in_a_part_of_its_prompt(copies: list[int]) -> None:
    places = Places.of(copies)
    assert len(set(places.of_rows.tolist())) == sum(copies)
    rows = np.arange(len(copies)).repeat(copies).tolist()
    assert places.prompts[places.of_rows // places.width].tolist() == rows
    assert places.width <= math.ceil(2 * sum(copies) / len(copies))
    assert set(range(len(places.prompts))) == set((places.of_rows // places.width).tolist())


def test_equal_numbers_of_rows_are_not_parted() -> None:
    places = Places.of([8] * 5)
    assert places.prompts.tolist() == list(range(5))
    assert places.of_rows.tolist() == list(range(40))


@pytest.mark.parametrize("copies", [1, 3, 20])
def test_what_a_row_attends_to_does_not_depend_on_other_rows(copies: int) -> None:
    torch.manual_seed(0)
    prompts, count = 6, 6 * copies
    keys, values = torch.randn(2, prompts, HEADS, 30, SIZE)

    def started(number: int) -> SharedPrompts:
        part = [(keys[:number], values[:number])]
        return SharedPrompts(part, Places.of([copies] * number), lengths=np.full(number, 30), limit=9, scaling=0.5)

    whole, half = started(prompts), started(prompts // 2)
    for step in range(3):
        query, key, value = (torch.randn(count, heads, SIZE) for heads in (HEADS * GROUP, HEADS, HEADS))
        own = [x[: count // 2] for x in (query, key, value)]
        assert torch.equal(whole.attend(0, query, key, value)[: count // 2], half.attend(0, *own)), step
    rows = np.arange(0, count, 2)
    first = rows[rows < count // 2]
    whole.keep(RowMoves.of(rows, count, CPU), rows)
    half.keep(RowMoves.of(first, count // 2, CPU), first)
    query, key, value = (torch.randn(len(rows), heads, SIZE) for heads in (HEADS * GROUP, HEADS, HEADS))
    own = [x[: len(first)] for x in (query, key, value)]
    assert torch.equal(whole.attend(0, query, key, value)[: len(first)], half.attend(0, *own))
