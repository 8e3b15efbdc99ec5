"""Laws that the advantages of every method obey, present and future ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ngrpo.errors import ConfigError
from ngrpo.methods import METHODS, GroupMethod, load_method

TABLES: list[dict[str, Any]] = [
    *({"name": name} for name, kind in METHODS.items() if issubclass(kind, GroupMethod)),
    {"name": "ngrpo", "num_virtual": 4},
    {"name": "ngrpo", "std": "population"},
    {"name": "ngrpo", "calibrate": "all_wrong"},
    {"name": "corpo", "min_correct_reward": 1.0},
    {"name": "asymre", "baseline_shift": 0.3},
    {"name": "pass_at_k", "k": 1},
    {"name": "pkpo", "k": 2},
    {"name": "sova", "positive_weight": 0.25, "negative_weight": 0.5},
]


def method_of(table: dict[str, Any]) -> GroupMethod:
    method = load_method(table)
    assert isinstance(method, GroupMethod)
    return method


every_method = pytest.mark.parametrize(
    "method", [method_of(table) for table in TABLES], ids=[str(table) for table in TABLES]
)
quick = settings(max_examples=25, deadline=None)
unit_rewards = st.lists(st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0, 1.0]), min_size=1, max_size=12)


@every_method
@given(rewards=unit_rewards, data=st.data())
@quick
def test_ungraded_completions_get_zero_and_change_nothing(
    method: GroupMethod, rewards: list[float], data: st.DataObject
) -> None:
    flags = data.draw(st.lists(st.booleans(), min_size=len(rewards), max_size=len(rewards)))
    valid = torch.tensor([flags])
    garbage = [r if flag else math.nan for r, flag in zip(rewards, flags, strict=True)]
    advantages = method.advantages(torch.tensor([garbage]), valid)
    assert (advantages[~valid] == 0).all()
    kept = [r for r, flag in zip(rewards, flags, strict=True) if flag]
    if kept:
        torch.testing.assert_close(advantages[valid], method.advantages(torch.tensor([kept]))[0], rtol=1e-6, atol=1e-6)


@every_method
@given(rewards=unit_rewards, seed=st.integers(0, 1000))
@quick
def test_the_order_of_completions_does_not_matter(method: GroupMethod, rewards: list[float], seed: int) -> None:
    order = torch.randperm(len(rewards), generator=torch.Generator().manual_seed(seed))
    table = torch.tensor([rewards])
    moved = method.advantages(table[:, order])
    torch.testing.assert_close(moved, method.advantages(table)[:, order], rtol=0, atol=1e-6)


@every_method
def test_groups_do_not_influence_each_other(method: GroupMethod) -> None:
    rewards = torch.tensor([[0.0, 0.0, 0.0, 0.2], [0.0, 1.0, 0.5, 0.0], [1.0, 1.0, 1.0, 1.0]])
    assert torch.equal(method.advantages(rewards), torch.cat([method.advantages(row[None]) for row in rewards]))


@every_method
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@given(
    size=st.sampled_from([1, 2, 3, 8, 64, 512]),
    seed=st.integers(0, 1000),
    exponents=st.tuples(st.integers(-45, 38), st.integers(-45, 38)),
)
@settings(max_examples=10, deadline=None)
def test_every_finite_reward_gives_a_finite_advantage(
    method: GroupMethod, dtype: torch.dtype, size: int, seed: int, exponents: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(2, 3, size, generator=generator, dtype=torch.float64)
    signs = torch.rand(3, size, generator=generator).round() * 2 - 1
    raw = uniform[0] * signs * 10.0 ** exponents[0] + (uniform[1] > 0.5) * 10.0 ** exponents[1]
    advantages = method.advantages(raw.clamp(-torch.finfo(dtype).max, upper_bound(method, dtype)).to(dtype))
    assert advantages.isfinite().all()
    assert advantages.dtype == dtype


@every_method
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_extremes_of_a_dtype_stay_finite(method: GroupMethod, dtype: torch.dtype) -> None:
    low, high = torch.finfo(dtype).min, upper_bound(method, dtype)
    rows = [[low, high, 0.0, torch.finfo(dtype).tiny], [high] * 4, [low] * 4, [high, *[low] * 3], [low, *[high] * 3]]
    assert method.advantages(torch.tensor(rows, dtype=dtype)).isfinite().all()


def upper_bound(method: GroupMethod, dtype: torch.dtype) -> float:
    return method.max_reward if method.bounded_by_max_reward else torch.finfo(dtype).max


@every_method
def test_the_result_has_the_dtype_of_the_rewards_and_no_gradient(method: GroupMethod) -> None:
    assert method.advantages(torch.tensor([[0, 1, 0]])).dtype == torch.float32
    assert method.advantages(torch.tensor([[0, 1, 0]], dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert not method.advantages(torch.tensor([[0.0, 1.0]], requires_grad=True)).requires_grad
    assert method.advantages(torch.zeros(0, 4)).shape == (0, 4)
    rewards = torch.tensor([[0.0, 1.0]])
    method.advantages(rewards)
    assert torch.equal(rewards, torch.tensor([[0.0, 1.0]]))


@every_method
def test_zero_is_never_negative_zero(method: GroupMethod) -> None:
    advantages = method.advantages(torch.tensor([[0.0] * 8, [0.0] * 7 + [1.0], [1.0] * 8]))
    assert not ((advantages == 0) & advantages.signbit()).any()


WRONG: list[Callable[[], tuple[Tensor, Tensor | None, str]]] = [
    lambda: (torch.zeros(3), None, r"\[3\]"),
    lambda: (torch.zeros(2, 0), None, r"\[2, 0\]"),
    lambda: (torch.tensor([[0.0, 1.0]]), torch.ones(2, 1, dtype=torch.bool), r"\[2, 1\]"),
    lambda: (torch.tensor([[0.0, 1.0]]), torch.ones(1, 2), "float32"),
    lambda: (torch.tensor([[0.0, math.nan]]), None, "nan"),
    lambda: (torch.tensor([[0.0, -math.inf]]), torch.tensor([[False, True]]), "-inf"),
]


@every_method
def test_wrong_tables_are_refused_in_one_line(method: GroupMethod) -> None:
    for make in WRONG:
        table, valid, message = make()
        with pytest.raises(ConfigError, match=message) as caught:
            method.advantages(table, valid)
        assert "\n" not in str(caught.value)
        assert "allowed" in str(caught.value)
