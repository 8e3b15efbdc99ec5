from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ngrpo.choices import GroupFilter
from ngrpo.errors import ConfigError
from ngrpo.filters import comparable_reward, correct_completions, group_kinds, kept_groups

KINDS = ("all_wrong", "all_correct", "mixed", "ungraded")
DROPPED = {
    "none": {"ungraded"},
    "all": {"ungraded", "all_wrong", "all_correct"},
    "all_correct": {"ungraded", "all_correct"},
    "all_incorrect": {"ungraded", "all_wrong"},
}


def oracle_kind(rewards: list[float], flags: list[bool], max_reward: float = 1.0) -> str:
    kept = [r for r, flag in zip(rewards, flags, strict=True) if flag]
    if len(kept) < min(2, len(rewards)):
        return "ungraded"
    correct = [r >= max_reward for r in kept]
    if all(correct):
        return "all_correct"
    return "mixed" if any(correct) else "all_wrong"


@given(data=st.data(), size=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_kinds_and_filters_agree_with_the_slow_oracle(data: st.DataObject, size: int) -> None:
    row = st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.0]), min_size=size, max_size=size)
    rewards = data.draw(st.lists(row, min_size=1, max_size=4))
    flag_row = st.lists(st.sampled_from([True, True, False]), min_size=size, max_size=size)
    flags = data.draw(st.lists(flag_row, min_size=len(rewards), max_size=len(rewards)))
    expected = [oracle_kind(r, f) for r, f in zip(rewards, flags, strict=True)]
    table, valid = torch.tensor(rewards), torch.tensor(flags)
    kinds = group_kinds(table, valid=valid)
    for kind in KINDS:
        assert getattr(kinds, kind).tolist() == [kind == wanted for wanted in expected]
    for name, dropped in DROPPED.items():
        kept = kept_groups(table, filter=name, valid=valid)  # type: ignore[arg-type]
        assert kept.tolist() == [kind not in dropped for kind in expected]


@pytest.mark.parametrize(
    ("filter_", "kept"),
    [
        ("none", [True, True, True, False]),
        ("all", [False, True, False, False]),
        ("all_correct", [True, True, False, False]),
        ("all_incorrect", [False, True, True, False]),
    ],
)
def test_what_each_filter_keeps(filter_: GroupFilter, kept: list[bool]) -> None:
    rewards = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, math.nan]])
    valid = ~rewards.isnan()
    assert kept_groups(rewards, filter=filter_, valid=valid).tolist() == kept


def test_a_group_of_one_needs_one_valid_completion() -> None:
    rewards, valid = torch.tensor([[1.0], [0.0], [0.0]]), torch.tensor([[True], [True], [False]])
    assert kept_groups(rewards, filter="none", valid=valid).tolist() == [True, True, False]


def test_partial_rewards_are_wrong_and_integers_are_rewards() -> None:
    assert group_kinds(torch.tensor([[0.9, 0.5]])).all_wrong.tolist() == [True]
    assert group_kinds(torch.tensor([[1, 1]])).all_correct.tolist() == [True]
    assert group_kinds(torch.tensor([[1.0, 1.0]]), max_reward=2.0).all_wrong.tolist() == [True]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("max_reward", [0.1, 0.3, 0.7, 0.9, 1.1])
def test_max_reward_is_reached_in_the_dtype_of_the_rewards(dtype: torch.dtype, max_reward: float) -> None:
    rewards = torch.tensor([[0.0, max_reward]], dtype=dtype)
    assert correct_completions(rewards, max_reward=max_reward).tolist() == [[False, True]]
    assert comparable_reward(max_reward, rewards) == rewards[0, 1].item()


def test_wrong_arguments_are_refused() -> None:
    rewards = torch.tensor([[0.0, 1.0]])
    with pytest.raises(ConfigError, match="filter is 'some'; allowed are 'none', 'all'"):
        kept_groups(rewards, filter="some")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"torch\.bool"):
        group_kinds(rewards, valid=torch.ones(1, 2))
    with pytest.raises(ConfigError, match="nan"):
        group_kinds(torch.tensor([[math.nan]]))
    with pytest.raises(ConfigError, match="max_reward is nan"):
        group_kinds(rewards, max_reward=math.nan)
