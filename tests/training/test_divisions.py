"""What ranks divide: every item has one rank, groups stay whole, and results arrive as they left."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngrpo.sampling import Prompt, Request
from ngrpo.training.batch import TokenRow
from ngrpo.training.divisions import BLOCKS, GROUPS, ROW_VALUES
from ngrpo.training.ranks import Place, place_of, refuse_torchrun
from ngrpo.types import Completion, Grade, Group, Problem, Rollout

TORCHRUN = {
    "RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}

ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), max_size=30).map(
    lambda pairs: [TokenRow(np.full(1 + prompt, prompt), np.zeros(length, dtype=np.int64)) for prompt, length in pairs]
)


@given(ROWS, st.integers(1, 5))
def test_rows_of_a_prompt_have_one_rank_and_loads_differ_by_a_group_at_most(rows: list[TokenRow], count: int) -> None:
    parts = ROW_VALUES.parts(rows, count)
    assert sorted(i for part in parts for i in part) == list(range(len(rows)))
    ranks_of: dict[bytes, set[int]] = {}
    for rank, part in enumerate(parts):
        assert part == sorted(part)
        for i in part:
            ranks_of.setdefault(rows[i].prompt.tobytes(), set()).add(rank)
    assert all(len(ranks) == 1 for ranks in ranks_of.values())
    loads = [sum(len(rows[i]) for i in part) for part in parts]
    groups = [sum(len(row) for row in rows if row.prompt.tobytes() == prompt) for prompt in ranks_of]
    assert max(loads) - min(loads) <= max(groups, default=0)


@given(ROWS)
def test_values_arrive_as_they_left(rows: list[TokenRow]) -> None:
    values = [
        np.random.default_rng(i).normal(size=len(row.completion)).astype(np.float32) for i, row in enumerate(rows)
    ]
    if rows:
        for sent, received in zip(values, ROW_VALUES.unpack(ROW_VALUES.pack(values), rows), strict=True):
            assert received.dtype == np.float32
            assert np.array_equal(sent, received)


def completion(number: int) -> Completion:
    logprobs = np.array([-0.1, -1 / 3], dtype=np.float32) * number
    return Completion(f"é{number}\n", np.array([7, number]), logprobs, "length" if number % 2 else "stop")


def test_groups_and_blocks_arrive_as_they_left() -> None:
    prompts = [Prompt(Problem(f"p{i}", "q", "r"), np.array([1, i]), (), f"text {i}") for i in range(3)]
    grades = [Grade("correct", 0.1 + 0.2, "3"), Grade("ungraded", 0.0, None, "time limit")]
    groups = [
        Group(p.problem, p.tokens, tuple(Rollout(p.problem, s, completion(s), grades[s]) for s in (0, 1)), p.text)
        for p in prompts
    ]
    assert GROUPS.parts(prompts, 2) == [[0, 2], [1]]
    for sent, received in zip(groups, GROUPS.unpack(GROUPS.pack(groups), prompts), strict=True):
        assert (received.problem, received.prompt) == (sent.problem, sent.prompt)
        assert received.prompt_tokens is sent.prompt_tokens
        for one, other in zip(sent.rollouts, received.rollouts, strict=True):
            assert (other.sample, other.grade, other.completion.text) == (one.sample, one.grade, one.completion.text)
            assert other.completion.finish_reason == one.completion.finish_reason
            assert np.array_equal(other.completion.tokens, one.completion.tokens)
            assert np.array_equal(other.completion.logprobs, one.completion.logprobs)
    block = [Request(prompts[0], 0), Request(prompts[0], 1)]
    [received_block] = BLOCKS.unpack(BLOCKS.pack([[completion(0), completion(1)]]), [block])
    assert [one.text for one in received_block] == ["é0\n", "é1\n"]


def test_the_place_is_torchruns(monkeypatch: pytest.MonkeyPatch) -> None:
    assert place_of(TORCHRUN) == Place(1, 4, 2)
    assert place_of(TORCHRUN | {"WORLD_SIZE": "four"}) == Place()
    assert place_of({name: TORCHRUN[name] for name in ("RANK", "WORLD_SIZE")}) == Place()  # a scheduler's
    refuse_torchrun("this")
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=r"^this is not divided among processes, and torchrun started 4: start it w"):
        refuse_torchrun("this")
