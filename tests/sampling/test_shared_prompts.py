from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ngrpo.sampling.growing_layer import RowMoves
from ngrpo.sampling.shared_prompts import SharedPrompts, attention, evenly

HEADS, GROUP, SIZE = 2, 3, 4
CPU = torch.device("cpu")


def attention_of_one(query: Tensor, keys: Tensor, values: Tensor, scaling: float) -> tuple[Tensor, float]:
    """A query [d] over keys and values [T, d], by loops."""
    scores = [scaling * float(query.double() @ key.double()) for key in keys]
    total = sum(math.exp(score) for score in scores)
    out = sum(math.exp(score) / total * value.double() for score, value in zip(scores, values, strict=True))
    return out.float(), math.log(total)


@pytest.mark.parametrize("queries", [1, 3, 40])
def test_attention_and_its_weight_equal_loops(queries: int) -> None:
    torch.manual_seed(queries)
    query, key, value = torch.randn(2, HEADS, queries, SIZE), torch.randn(2, HEADS, 5, SIZE), torch.randn(2, 2, 5, SIZE)
    mask = torch.zeros(2, 1, 1, 5)
    mask[1, ..., :2] = -math.inf
    out, weight = attention(query, key, value, mask, 0.7)
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
    prompt_of = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=12)))
    torch.manual_seed(data.draw(st.integers(0, 100)))
    widest = int(lengths.max())
    keys, values = (torch.randn(len(lengths), HEADS, widest, SIZE) for _ in range(2))
    shared = SharedPrompts([keys], [values], lengths=lengths, prompt_of=prompt_of, limit=200, scaling=0.5)
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
    shared = SharedPrompts(
        [keys], [values], lengths=np.array([5, 3]), prompt_of=np.array([0, 0, 1]), limit=9, scaling=0.5
    )
    key, value = torch.randn(3, HEADS, SIZE), torch.randn(3, HEADS, SIZE).bfloat16()
    query = torch.randn(3, HEADS * GROUP, SIZE)
    out = shared.attend(0, query, key, value)
    assert out.dtype == torch.bfloat16
    k, v = torch.cat([keys[1, :, 2:], key[2][:, None]], dim=1), torch.cat([values[1, :, 2:], value[2][:, None]], dim=1)
    wanted, _ = attention_of_one(query[2, 4], k[1], v[1], 0.5)
    assert torch.allclose(out[2].float().view(-1, SIZE)[4], wanted, atol=0.05)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_parts_hold_every_row_once_and_at_most_twice_the_mean(copies: list[int]) -> None:
    of_parts, part_of = evenly(copies)
    assert np.bincount(of_parts[part_of], minlength=len(copies)).tolist() == copies
    assert of_parts[part_of].tolist() == np.arange(len(copies)).repeat(copies).tolist()
    sizes = np.bincount(part_of, minlength=len(of_parts))
    assert sizes.min() >= 1
    assert sizes.max() <= math.ceil(2 * sum(copies) / len(copies))


def test_equal_numbers_of_rows_are_not_parted() -> None:
    of_parts, _ = evenly([8] * 5)
    assert of_parts.tolist() == list(range(5))
