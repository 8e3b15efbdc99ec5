"""The arrangement of groups in a pack, against what it promises."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ngrpo.models.packing import MAX_PADDING, arrange, similar

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 80), st.lists(st.integers(1, 60), min_size=1, max_size=6)), max_size=12))
def test_every_token_has_one_place_and_its_position(groups: list[tuple[int, list[int]]]) -> None:
    if not groups:
        return
    prompts = [length for length, _ in groups]
    rows = [(p, n) for p, (_, lengths) in enumerate(groups) for n in lengths]
    arranged = arrange(prompts, [p for p, _ in rows], [n for _, n in rows])
    assert sorted(i for is_prompt, i in arranged.order if is_prompt) == list(range(len(prompts)))
    order = [i for is_prompt, i in arranged.order if not is_prompt]
    assert sorted(order) == list(range(len(rows)))
    packing = arranged.packing(torch.device("cpu"))
    positions = packing.position_ids[0]
    assert len(positions) == sum(prompts) + sum(n - 1 for _, n in rows)
    for i, places in zip(order, arranged.places, strict=True):
        first = prompts[rows[i][0]] - 1
        assert positions[torch.from_numpy(places)].tolist() == list(range(first, first + rows[i][1]))
    places = packing.places
    if places is not None:
        assert len(set(places.tolist())) == len(positions) < packing.padded_tokens
        assert int(places.max()) < packing.padded_tokens
    size = sum(
        block.shape[0] * block.shape[1] + sum(few.shape[0] * few.shape[1] for few in block.completions)
        for block in packing.blocks
    )
    assert size == packing.padded_tokens


def test_a_completion_sees_its_prompt_and_what_came_before() -> None:
    packing = arrange([2, 3], [0, 1], [3, 2]).packing(torch.device("cpu"))
    (block,) = packing.blocks
    (few,) = block.completions
    assert (block.shape, few.shape) == ((2, 3), (2, 2))
    assert few.prompts.tolist() == [1, 0]  # prompts are sorted: the second one is first
    assert (few.mask[0, 0] == 0).tolist() == [[True, True, False, True, False], [True, True, False, True, True]]
    assert (few.mask[1, 0] == 0).tolist() == [[True, True, True, True, False], [True, True, True, True, True]]


@given(LENGTHS, st.integers(0, 500))
def test_lengths_are_similar_until_padding_is_too_much(lengths: list[int], least: int) -> None:
    lengths.sort(reverse=True)
    count = similar(lengths, least=least)
    assert 1 <= count <= len(lengths)
    size = count * lengths[0]
    assert size <= least or size - sum(lengths[:count]) <= MAX_PADDING * size
    if count < len(lengths):
        size += lengths[0]
        assert size > least
        assert size - sum(lengths[: count + 1]) > MAX_PADDING * size
