"""Rows become groups and groups advantages: against a plain-Python oracle and against `ngrpo.advantages`."""

from __future__ import annotations

import random

import pytest
import torch

from ngrpo.adapters.flat_batch import kept_rows, load_row_method, row_advantages, shapes_rewards, uses_max_reward
from ngrpo.advantages import ngrpo_advantages
from ngrpo.errors import ConfigError
from ngrpo.filters import kept_groups
from ngrpo.methods import DAPO, GRPO, METHODS, NGRPO, RLZVP, GroupMethod, PassAtK

ON_REWARDS = [
    name
    for name, kind in METHODS.items()
    if issubclass(kind, GroupMethod) and not kind.model_construct().needs_entropies
]


def oracle(rewards: list[float], groups: list[object], valid: list[bool]) -> list[float]:
    """NGRPO with one virtual completion, row by row, by its formula alone."""
    out = []
    for row, group in enumerate(groups):
        own = [r for r, g, v in zip(rewards, groups, valid, strict=True) if g == group and v] + [1.0]
        mean = sum(own) / len(own)
        deviation = (sum((r - mean) ** 2 for r in own) / max(len(own) - 1, 1)) ** 0.5
        out.append((rewards[row] - mean) / (deviation + 1e-6) if valid[row] else 0.0)
    return out


@pytest.mark.parametrize("seed", range(20))
def test_groups_of_any_size_in_any_order_follow_the_formula(seed):
    rng = random.Random(seed)
    size = rng.randint(1, 30)
    groups = [rng.choice(["a", "b", 3, ("c", 1)]) for _ in range(size)]
    valid = [rng.random() < 0.8 for _ in range(size)]
    rewards = [float(rng.random() < 0.4) if v else float("nan") for v in valid]
    got = row_advantages(NGRPO(), torch.tensor(rewards), groups, valid=torch.tensor(valid))
    assert got.dtype == torch.float32
    assert got.tolist() == pytest.approx(oracle(rewards, groups, valid), abs=1e-5)


@pytest.mark.parametrize("name", ON_REWARDS)
def test_equal_groups_give_exactly_what_the_method_gives(name):
    method = load_row_method({"name": name}, host="a test")
    generator = torch.Generator().manual_seed(0)
    rewards = (torch.rand(12, 8, generator=generator) < 0.4).float()
    valid = torch.rand(12, 8, generator=generator) < 0.9
    order = torch.randperm(96, generator=generator)
    groups = [int(row) // 8 for row in order]
    got = row_advantages(method, rewards.flatten()[order], groups, valid=valid.flatten()[order])
    assert torch.equal(got, method.advantages(rewards, valid).flatten()[order])
    every = row_advantages(method, rewards.flatten()[order], groups)
    assert torch.equal(every, method.advantages(rewards).flatten()[order])


def test_settings_of_the_method_reach_the_function():
    rewards = torch.tensor([0.0, 2.0, 0.0, 0.0])
    got = row_advantages(NGRPO(num_virtual=3, max_reward=2.0, std="population"), rewards, [0, 0, 1, 1])
    assert torch.equal(
        got, ngrpo_advantages(rewards.view(2, 2), num_virtual=3, max_reward=2.0, std="population").flatten()
    )


def test_a_row_that_is_not_valid_changes_nothing_for_the_others():
    rewards = torch.tensor([0.0, 1.0, float("inf"), 0.0])
    valid = torch.tensor([True, True, False, True])
    got = row_advantages(GRPO(), rewards, ["g"] * 4, valid=valid)
    assert torch.equal(got[valid], row_advantages(GRPO(), rewards[valid], ["g"] * 3))
    assert got[2] == 0


def test_no_rows_and_no_valid_rows_give_zeros():
    assert row_advantages(NGRPO(), torch.zeros(0), []).shape == (0,)
    nothing = torch.zeros(2, dtype=torch.bool)
    assert row_advantages(NGRPO(), torch.full((2,), torch.nan), [1, 1], valid=nothing).tolist() == [0.0, 0.0]
    assert kept_rows(NGRPO(), torch.zeros(2), [1, 1], valid=nothing).tolist() == [False, False]


@pytest.mark.parametrize("filter", ["none", "all", "all_correct", "all_incorrect"])
def test_kept_rows_are_the_valid_rows_of_kept_groups(filter):
    generator = torch.Generator().manual_seed(1)
    rewards = (torch.rand(40, 3, generator=generator) < 0.5).float()
    valid = torch.rand(40, 3, generator=generator) < 0.7
    groups = [row // 3 for row in range(120)]
    got = kept_rows(NGRPO(filter=filter), rewards.flatten(), groups, valid=valid.flatten())
    expected = kept_groups(rewards, filter=filter, valid=valid)[:, None] & valid
    assert torch.equal(got, expected.flatten())


def test_a_group_of_one_is_kept_but_one_left_of_two_is_not():
    valid = torch.tensor([True, False, True])
    assert kept_rows(NGRPO(), torch.zeros(3), ["a", "a", "b"], valid=valid).tolist() == [False, False, True]


def test_groups_that_are_too_small_for_the_method_give_zero():
    assert row_advantages(PassAtK(k=4), torch.tensor([1.0, 0.0]), [0, 0]).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("rewards", "groups", "valid", "message"),
    [
        (torch.zeros(2), ["a"], None, r"rewards have shape \[2\] and there are 1 group ids"),
        (torch.zeros(1, 2), ["a"], None, r"rewards have shape \[1, 2\]"),
        (torch.zeros(1), ["a"], torch.ones(1), "valid is torch.float32"),
        (torch.tensor([torch.nan]), ["a"], None, "reward of a valid completion is nan"),
        (torch.tensor([2.0]), ["a"], None, "max_reward is 1.0 but a reward is 2.0"),
    ],
)
def test_wrong_input_is_one_line(rewards, groups, valid, message):
    with pytest.raises(ConfigError, match=message):
        row_advantages(NGRPO(), rewards, groups, valid=valid)


def test_methods_that_rewards_alone_do_not_decide_are_refused():
    with pytest.raises(ConfigError, match="method 'rl_zvp' has advantages per token"):
        row_advantages(RLZVP(), torch.zeros(1), ["a"])
    with pytest.raises(ConfigError, match=r"method 'rl_zvp' .* which Host does not give"):
        load_row_method({"name": "rl_zvp"}, host="Host")
    with pytest.raises(ConfigError, match="method 'ppo' needs a critic, which Host does not have"):
        load_row_method({"name": "ppo"}, host="Host")
    with pytest.raises(ConfigError, match="Host: unknown method 'x'"):
        load_row_method({"name": "x"}, host="Host")


def test_only_a_penalty_for_length_shapes_rewards():
    assert [name for name in ON_REWARDS if shapes_rewards(load_row_method({"name": name}, host="a test"))] == ["dapo"]
    assert not shapes_rewards(DAPO(overlong_buffer_tokens=0))


@pytest.mark.parametrize("name", ON_REWARDS)
def test_max_reward_is_used_by_the_methods_that_tell_correct_from_wrong(name):
    without = {"grpo", "dr_grpo", "rloo", "corpo", "maxrl", "asymre", "pkpo", "gspo", "cispo"}
    assert uses_max_reward(load_row_method({"name": name}, host="a test")) == (name not in without)


def test_max_reward_is_not_used_by_ngrpo_without_virtual_completions_and_filter():
    assert not uses_max_reward(NGRPO(num_virtual=0, filter="none"))
    assert uses_max_reward(NGRPO(num_virtual=0))
    assert uses_max_reward(NGRPO(calibrate="all_wrong", filter="none"))
