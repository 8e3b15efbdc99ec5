from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from ngrpo.training.batch import TrainingRow, micro_batches, pack, pad, split_into_updates, values_of

CPU = torch.device("cpu")


def row(prompt: list[int], completion: list[int], advantage: float = 1.0) -> TrainingRow:
    old = -np.arange(1, len(completion) + 1, dtype=np.float32)
    return TrainingRow(
        np.array(prompt), np.array(completion), old, np.full(len(completion), advantage, dtype=np.float32)
    )


def test_padding_to_the_right_points_at_the_token_before_each() -> None:
    batch = pad([row([11, 12, 13], [21, 22], 0.5), row([31], [41, 42, 43], -2.0)], CPU)
    assert batch.input_ids.tolist() == [[11, 12, 13, 21], [31, 41, 42, 0]]  # a last token predicts nothing
    assert batch.tokens.tolist() == [21, 22, 41, 42, 43]
    assert batch.places.tolist() == [2, 3, 4, 5, 6]
    assert batch.completion_mask.tolist() == [[True, True, False], [True, True, True]]
    assert batch.per_token(r.old_logprobs for r in batch.rows).tolist() == [[-1, -2, 0], [-1, -2, -3]]
    assert batch.flat(r.advantages for r in batch.rows).tolist() == [0.5, 0.5, -2, -2, -2]


def test_a_pack_has_each_prompt_once_and_no_padding() -> None:
    rows = [row([11, 12], [21, 22]), row([31, 32, 33], [41]), row([11, 12], [51, 52, 53])]
    batch = pack(rows, CPU)
    assert batch.packing is not None
    assert batch.input_ids.tolist() == [[31, 32, 33, 11, 12, 51, 52, 21]]  # long ones first
    assert batch.packing.position_ids.tolist() == [[0, 1, 2, 0, 1, 2, 3, 2]]
    assert [r.completion.tolist() for r in batch.rows] == [[51, 52, 53], [21, 22], [41]]
    assert batch.tokens.tolist() == [51, 52, 53, 21, 22, 41]
    assert batch.places.tolist() == [4, 5, 6, 4, 7, 2]


@pytest.mark.parametrize("make", [pack, pad])
def test_each_place_holds_the_token_before_the_one_it_predicts(random_rows: list[TrainingRow], make: Any) -> None:
    batch = make(random_rows, CPU)
    before = np.concatenate([np.concatenate([one.prompt[-1:], one.completion[:-1]]) for one in batch.rows])
    assert batch.input_ids.flatten()[batch.places].tolist() == before.tolist()
    assert batch.tokens.tolist() == np.concatenate([one.completion for one in batch.rows]).tolist()
    assert batch.completion_mask.sum(dim=1).tolist() == [len(one.completion) for one in batch.rows]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("budget", [1, 9, 16, 50, 10**6])
def test_micro_batches_keep_to_the_budget_and_lose_no_row(
    random_rows: list[TrainingRow], budget: int, packed: bool
) -> None:
    batches = list(micro_batches(random_rows, token_budget=budget, device=CPU, packed=packed))
    for batch in batches:
        assert batch.input_ids.numel() <= budget or len(batch.rows) == 1
    assert sorted(id(row) for batch in batches for row in batch.rows) == sorted(map(id, random_rows))
    assert len(batches) > 1 or (packed and budget == 10**6)


def spread_rows(count: int) -> list[TrainingRow]:
    rng = np.random.default_rng(count)
    prompts = [list(range(int(length))) for length in rng.integers(40, 80, size=count // 8)]
    return [row(prompts[i // 8], list(range(int(rng.integers(10, 200))))) for i in range(count)]


@pytest.mark.parametrize("count", [64, 256, 2048])
def test_padding_is_below_a_tenth(count: int) -> None:
    rows = spread_rows(count)
    padded = list(micro_batches(rows, token_budget=16384, device=CPU))
    used = sum(len(one) - 1 for one in rows)
    assert used / sum(batch.input_ids.numel() for batch in padded) > 0.9
    packs = list(micro_batches(rows, token_budget=16384, device=CPU, packed=True))
    prompts = {one.prompt.tobytes() for one in rows}
    least = sum(len(prompt) // 8 for prompt in prompts) + sum(len(one.completion) - 1 for one in rows)
    assert sum(batch.input_ids.numel() for batch in packs) < 1.02 * least  # a group at a cut has its prompt twice


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("budget", [1, 16, 10**6])
def test_values_come_back_in_the_order_of_the_rows(random_rows: list[TrainingRow], budget: int, packed: bool) -> None:
    found = values_of(random_rows, lambda batch: batch.tokens * 2, token_budget=budget, device=CPU, packed=packed)
    for one, values in zip(random_rows, found, strict=True):
        assert values.tolist() == (2 * one.completion).tolist()


def test_predicting_states_spread_to_their_tokens(random_rows: list[TrainingRow]) -> None:
    batch = pack(random_rows, CPU)
    states = batch.spread(batch.predicting(batch.input_ids[..., None].float()).squeeze(-1))
    for i, one in enumerate(batch.rows):
        before = np.concatenate([one.prompt, one.completion])[len(one.prompt) - 1 : -1]
        assert states[i, : len(before)].tolist() == before.tolist()
        assert not states[i, len(before) :].any()


def test_no_rows_make_no_micro_batch() -> None:
    assert list(micro_batches([], token_budget=10, device=CPU)) == []


def groups_of(count: int, size: int = 3) -> list[list[TrainingRow]]:
    return [[row([i], [sample + 1]) for sample in range(size)] for i in range(count)]


def group_numbers(update: list[TrainingRow]) -> list[int]:
    return [int(one.prompt[0]) for one in update]


@pytest.mark.parametrize(("updates", "passes"), [(1, 1), (4, 1), (4, 2), (4, 4), (12, 3)])
@pytest.mark.parametrize("groups", [4, 7, 16])
def test_each_group_is_whole_in_one_update_of_each_pass(updates: int, passes: int, groups: int) -> None:
    parts = split_into_updates(groups_of(groups), updates=updates, passes=passes, seed=3, step=2)
    assert len(parts) == min(updates // passes, groups) * passes
    counts: Counter[int] = Counter()
    for part in parts:
        here = Counter(group_numbers(part))
        assert set(here.values()) == {3}
        counts.update(here.keys())
    assert counts == dict.fromkeys(range(groups), passes)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 3


def test_the_split_is_decided_by_seed_and_step() -> None:
    def split(seed: int, step: int) -> list[list[int]]:
        parts = split_into_updates(groups_of(16), updates=4, passes=2, seed=seed, step=step)
        return [group_numbers(part) for part in parts]

    assert split(0, 1) == split(0, 1)
    assert split(0, 1) != split(0, 2)
    assert split(0, 1) != split(1, 1)
    assert split(0, 1)[:2] != split(0, 1)[2:]  # each pass is shuffled anew


def test_fewer_groups_than_updates_make_fewer_updates() -> None:
    assert len(split_into_updates(groups_of(2), updates=4, passes=1, seed=0, step=1)) == 2
    assert len(split_into_updates(groups_of(2), updates=4, passes=2, seed=0, step=1)) == 4
    assert split_into_updates([], updates=4, passes=2, seed=0, step=1) == []
