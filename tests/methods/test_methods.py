"""Each named method has its published settings, asks its pure function, and shapes rewards as its paper says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ngrpo import advantages as functions
from ngrpo.errors import ConfigError
from ngrpo.methods import METHODS, GroupMethod, load_method

COMMON: dict[str, Any] = {
    "loss": "clipped",
    "clip_low": 0.2,
    "clip_high": 0.2,
    "aggregate": "token_mean",
    "kl_coefficient": 0.0,
    "kl_estimator": "k3",
    "entropy_bonus": 0.001,
    "filter": "none",
    "refill": True,
    "max_refill_factor": 8.0,
    "max_reward": 1.0,
}

PUBLISHED: dict[str, dict[str, Any]] = {
    "ppo": {
        "critic": "separate",
        "critic_lr": 1e-5,
        "critic_warmup_steps": 0,
        "value_clip": 0.5,
        "value_coefficient": 1.0,
        "gamma": 1.0,
        "lam": 1.0,
        "reward_kl_coefficient": 0.001,
    },
    "grpo": {"kl_coefficient": 0.001, "std": "sample"},
    "dr_grpo": {"aggregate": "constant", "entropy_bonus": 0.0},
    "rloo": {"entropy_bonus": 0.0},
    "dapo": {"clip_high": 0.28, "filter": "all", "std": "sample", "overlong_buffer_tokens": 1024},
    "psr": {},
    "nsr": {},
    "psr_nsr": {"positive_weight": 0.1},
    "constant": {"clip_low": 0.16, "clip_high": 0.24, "filter": "all_correct", "all_wrong_weight": 1.0},
    "ngrpo": {
        "clip_low": 0.16,
        "clip_high": 0.24,
        "filter": "all_correct",
        "num_virtual": 1,
        "std": "sample",
        "calibrate": "all",
        "all_wrong_weight": 1.0,
    },
    "corpo": {"entropy_bonus": 0.0, "min_correct_reward": 0.5},
    "maxrl": {"entropy_bonus": 0.0},
    "asymre": {"entropy_bonus": 0.0, "baseline_shift": -0.1},
    "reinforce_rej": {"entropy_bonus": 0.0, "filter": "all", "refill": False},
    "pass_at_k": {"entropy_bonus": 0.0, "k": 4},
    "pkpo": {"entropy_bonus": 0.0, "k": 4},
    "sova": {"entropy_bonus": 0.0, "positive_weight": 0.0625, "negative_weight": 0.0},
    "rl_zvp": {"clip_high": 0.28, "entropy_bonus": 0.0, "alpha": 0.1, "std": "sample"},
    "gspo": {
        "loss": "gspo",
        "clip_low": 3e-4,
        "clip_high": 4e-4,
        "aggregate": "sequence_mean",
        "entropy_bonus": 0.0,
        "std": "sample",
    },
    "cispo": {"loss": "cispo", "clip_low": 1.0, "clip_high": 5.0, "entropy_bonus": 0.0, "std": "sample"},
}

REWARDS = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.5], [1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
VALID = torch.tensor([[True] * 4, [True, True, False, True], [True] * 4, [True, True, True, False]])


@pytest.mark.parametrize("name", PUBLISHED)
def test_naming_a_method_is_naming_its_published_settings(name: str) -> None:
    assert load_method({"name": name}).model_dump() == {"name": name, **COMMON, **PUBLISHED[name]}


def test_without_a_name_it_is_ngrpo() -> None:
    assert load_method({}) == load_method({"name": "ngrpo"})


DELEGATES: list[tuple[dict[str, Any], Tensor, Tensor]] = [
    ({"name": "grpo"}, *(functions.grpo_advantages(REWARDS, valid=v) for v in (None, VALID))),
    (
        {"name": "grpo", "std": "population"},
        *(functions.grpo_advantages(REWARDS, std="population", valid=v) for v in (None, VALID)),
    ),
    ({"name": "dr_grpo"}, *(functions.dr_grpo_advantages(REWARDS, valid=v) for v in (None, VALID))),
    ({"name": "rloo"}, *(functions.rloo_advantages(REWARDS, valid=v) for v in (None, VALID))),
    (
        {"name": "dapo", "std": "population"},
        *(functions.grpo_advantages(REWARDS, std="population", valid=v) for v in (None, VALID)),
    ),
    (
        {"name": "psr", "max_reward": 0.5},
        *(functions.psr_advantages(REWARDS, max_reward=0.5, valid=v) for v in (None, VALID)),
    ),
    (
        {"name": "nsr", "max_reward": 0.5},
        *(functions.nsr_advantages(REWARDS, max_reward=0.5, valid=v) for v in (None, VALID)),
    ),
    (
        {"name": "psr_nsr", "positive_weight": 0.3, "max_reward": 0.5},
        *(
            functions.w_reinforce_advantages(REWARDS, positive_weight=0.3, max_reward=0.5, valid=v)
            for v in (None, VALID)
        ),
    ),
    (
        {"name": "constant", "max_reward": 0.5},
        *(functions.constant_advantages(REWARDS, max_reward=0.5, valid=v) for v in (None, VALID)),
    ),
    ({"name": "ngrpo"}, *(functions.ngrpo_advantages(REWARDS, valid=v) for v in (None, VALID))),
    (
        {"name": "ngrpo", "num_virtual": 3, "std": "population", "calibrate": "all_wrong", "max_reward": 2.0},
        *(
            functions.ngrpo_advantages(
                REWARDS, num_virtual=3, std="population", calibrate="all_wrong", max_reward=2.0, valid=v
            )
            for v in (None, VALID)
        ),
    ),
]


@pytest.mark.parametrize(
    ("table", "all_valid", "some_valid"), DELEGATES, ids=lambda v: str(v) if isinstance(v, dict) else ""
)
def test_advantages_are_those_of_the_pure_function(
    table: dict[str, Any], all_valid: Tensor, some_valid: Tensor
) -> None:
    method = load_method(table)
    assert torch.equal(method.advantages(REWARDS), all_valid)
    assert torch.equal(method.advantages(REWARDS, VALID), some_valid)
    assert (method.advantages(REWARDS, VALID)[~VALID] == 0).all()


def test_the_two_all_wrong_constants_agree_at_any_group_size() -> None:
    for size in (2, 8, 64):
        wrong = torch.zeros(1, size)
        expected = torch.full((1, size), -((size + 1) ** -0.5))
        torch.testing.assert_close(load_method({"name": "constant"}).advantages(wrong), expected)
        torch.testing.assert_close(load_method({"name": "ngrpo"}).advantages(wrong), expected, atol=1e-5, rtol=1e-5)


def test_dapos_overlong_penalty_by_hand() -> None:
    """Completions of at most 3,072 tokens, a buffer of 1,024: nothing up to 2,048, then linear to -1."""
    method = load_method({"name": "dapo"})
    tokens = torch.tensor([[1, 2047, 2048, 2049, 2304, 2560, 2816, 3071, 3072]])
    expected = [0, 0, 0, -1 / 1024, -0.25, -0.5, -0.75, -1023 / 1024, -1]
    for reward in (0.0, 1.0):
        shaped = method.shaped_rewards(torch.full(tokens.shape, reward), tokens, 3072)
        torch.testing.assert_close(shaped, torch.tensor([[reward + penalty for penalty in expected]]))


def test_no_buffer_is_no_penalty_and_other_methods_have_none() -> None:
    rewards, tokens = torch.tensor([[0.0, 1.0]]), torch.tensor([[5, 8]])
    for table in ({"name": "dapo", "overlong_buffer_tokens": 0}, {"name": "ngrpo"}, {"name": "grpo"}):
        assert torch.equal(load_method(table).shaped_rewards(rewards, tokens, 8), rewards)


@pytest.mark.parametrize(
    ("table", "acts"),
    [
        ({"name": "ngrpo"}, True),  # the entropy bonus
        ({"name": "ngrpo", "entropy_bonus": 0.0}, False),
        ({"name": "ngrpo", "entropy_bonus": -0.01}, True),
        ({"name": "grpo", "entropy_bonus": 0.0}, True),  # KL
        ({"name": "grpo", "entropy_bonus": 0.0, "kl_coefficient": 0.0}, False),
    ],
)
def test_which_rollouts_without_advantage_still_carry_gradient(table: dict[str, Any], acts: bool) -> None:
    assert load_method(table).trains_on_zero_advantage is acts


@pytest.mark.parametrize("name", METHODS)
def test_every_method_names_its_paper(name: str) -> None:
    assert METHODS[name].paper.startswith("https://arxiv.org/abs/")
    assert METHODS[name].__doc__


@pytest.mark.parametrize("name", ["ngrp", 3, None, ["ngrpo"], {"a": 1}])
def test_an_unknown_method_names_those_that_are(name: object) -> None:
    with pytest.raises(ConfigError, match=r"^f: unknown method .*; allowed: grpo, .*ngrpo"):
        load_method({"name": name}, where="f: ")


def test_a_setting_of_another_method_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown key 'num_virtual'"):
        load_method({"name": "grpo", "num_virtual": 1})


GROUP_METHODS = [name for name, kind in METHODS.items() if issubclass(kind, GroupMethod)]
DIVIDING = {"grpo", "dapo", "constant", "ngrpo", "pass_at_k", "sova", "rl_zvp", "gspo", "cispo"}


@pytest.mark.parametrize("name", GROUP_METHODS)
def test_methods_that_divide_by_a_deviation_do_not_depend_on_the_unit_of_rewards(name: str) -> None:
    rewards = torch.tensor([[0.0, 0.0, 0.5, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    plain, tripled = load_method({"name": name}), load_method({"name": name, "max_reward": 3.0})
    assert plain.divides_by_deviation == (name in DIVIDING)
    if name in DIVIDING:
        assert torch.allclose(plain.advantages(rewards), tripled.advantages(3 * rewards), atol=1e-3)


@pytest.mark.parametrize("name", GROUP_METHODS)
def test_only_methods_with_a_bound_refuse_rewards_above_max_reward(name: str) -> None:
    rewards = torch.tensor([[0.0, 1.0, 2.0, 0.0, 1.0]])
    method = load_method({"name": name})
    assert method.bounded_by_max_reward == (name == "ngrpo")
    if method.bounded_by_max_reward:
        with pytest.raises(ConfigError, match=r"max_reward is 1\.0 but a reward is 2\.0"):
            method.advantages(rewards)
    else:
        assert method.advantages(rewards).isfinite().all()
    assert not load_method({"name": "ngrpo", "num_virtual": 0}).bounded_by_max_reward
