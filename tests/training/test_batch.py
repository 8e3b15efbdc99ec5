from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from ngrpo.training.batch import TrainingRow, micro_batches, pack, split_into_updates, values_of

CPU = torch.device("cpu")


def row(prompt: list[int], completion: list[int], advantage: float = 1.0) -> TrainingRow:
    old = -np.arange(1, len(completion) + 1, dtype=np.float32)
    return TrainingRow(
        np.array(prompt), np.array(completion), old, np.full(len(completion), advantage, dtype=np.float32)
    )


def test_packing_pads_to_the_right_and_points_at_the_token_before_each() -> None:
    batch = pack([row([11, 12, 13], [21, 22], 0.5), row([31], [41, 42, 43], -2.0)], CPU)
    assert batch.input_ids.tolist() == [[11, 12, 13, 21], [31, 41, 42, 43]]  # 22 predicts nothing; 0 would be padding
    assert batch.tokens.tolist() == [[21, 22, 0], [41, 42, 43]]
    assert batch.positions[0, :2].tolist() == [2, 3]
    assert batch.positions[1].tolist() == [0, 1, 2]
    assert batch.completion_mask.tolist() == [[True, True, False], [True, True, True]]
    assert batch.per_token(r.old_logprobs for r in batch.rows).tolist() == [[-1, -2, 0], [-1, -2, -3]]
    assert batch.per_token(r.advantages for r in batch.rows).tolist() == [[0.5, 0.5, 0], [-2, -2, -2]]


def test_each_position_holds_the_token_before_the_one_it_predicts(random_rows: list[TrainingRow]) -> None:
    batch = pack(random_rows, CPU)
    for i, one in enumerate(random_rows):
        sequence = np.concatenate([one.prompt, one.completion])
        for t in range(len(one.completion)):
            place = len(one.prompt) + t
            assert batch.positions[i, t] == place - 1
            assert batch.input_ids[i, place - 1] == sequence[place - 1]
            assert batch.tokens[i, t] == sequence[place]
        assert int(batch.completion_mask[i].sum()) == len(one.completion)


@pytest.mark.parametrize("budget", [1, 9, 16, 50, 10**6])
def test_micro_batches_keep_to_the_budget_and_lose_no_row(random_rows: list[TrainingRow], budget: int) -> None:
    batches = list(micro_batches(random_rows, token_budget=budget, device=CPU))
    for batch in batches:
        size = len(batch.input_ids) * (batch.input_ids.shape[1] + 1)
        assert size <= budget or len(batch.input_ids) == 1
    assert sorted(id(row) for batch in batches for row in batch.rows) == sorted(map(id, random_rows))
    assert len(batches) == 1 if budget == 10**6 else len(batches) > 1


@pytest.mark.parametrize("budget", [1, 16, 10**6])
def test_values_come_back_in_the_order_of_the_rows(random_rows: list[TrainingRow], budget: int) -> None:
    found = values_of(random_rows, lambda batch: batch.tokens * 2, token_budget=budget, device=CPU)
    for one, values in zip(random_rows, found, strict=True):
        assert values.tolist() == (2 * one.completion).tolist()


def test_predicting_states_spread_back_to_their_tokens(random_rows: list[TrainingRow]) -> None:
    batch = pack(random_rows, CPU)
    hidden = batch.input_ids[..., None].float()
    back = batch.spread(batch.predicting(hidden).squeeze(-1))
    for i, one in enumerate(random_rows):
        before = np.concatenate([one.prompt, one.completion])[len(one.prompt) - 1 : -1]
        assert back[i, : len(before)].tolist() == before.tolist()
        assert not back[i, len(before) :].any()


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
