"""SkyRL's estimator, called as SkyRL 0.3 calls it, and registered with a registry like its own."""

from __future__ import annotations

import importlib
import sys
from functools import wraps
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
import torch

import ngrpo.adapters.skyrl as adapter
from ngrpo.advantages import ngrpo_advantages, w_reinforce_advantages
from ngrpo.errors import ConfigError


def called(function, rewards, mask, index):
    """As `compute_advantages_and_returns` of skyrl/backends/skyrl_train/utils/ppo_utils.py calls it."""
    return function(
        token_level_rewards=rewards,
        response_mask=mask,
        index=index,
        values=None,
        grpo_norm_by_std=True,
        gamma=1.0,
        lambd=1.0,
        config=object(),
    )


def batch(rewards, width=4):
    """Rewards on the last token of completions of different lengths, as SkyRL places them."""
    mask = torch.zeros(len(rewards), width, dtype=torch.long)
    tokens = torch.zeros(len(rewards), width)
    for row, reward in enumerate(rewards):
        length = 1 + row % width
        mask[row, :length] = 1
        tokens[row, length - 1] = reward
    return tokens, mask


def test_advantages_are_ours_on_the_tokens_that_were_written():
    rewards = [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    index = ["a", "b", "a", "b", "a", "b"]
    tokens, mask = batch(rewards)
    advantages, returns = called(adapter.ngrpo, tokens, mask, index)
    ours = ngrpo_advantages(torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])).T.flatten()
    assert torch.equal(advantages, ours[:, None] * mask)
    assert torch.equal(advantages, returns)
    assert advantages.dtype == torch.float32


def test_ids_may_be_numpys_as_in_step_wise_training():
    tokens, mask = batch([0.0, 0.0])
    advantages, _ = called(adapter.ngrpo, tokens, torch.ones_like(mask).float(), np.array(["a", "a"]))
    assert advantages[:, 0].tolist() == pytest.approx([-(3**-0.5)] * 2, abs=1e-5)


def test_padding_empty_and_ungraded_rows_are_left_out():
    # SkyRL fills up with copies of row 0, whose ids are pad0, pad1, ...
    tokens, mask = batch([0.0, 0.0, float("nan"), 0.0, 1.0, 0.0, 0.0])
    mask[3] = 0
    index = np.array(["a", "a", "a", "a", "a", "pad0", "pad1"])
    advantages, _ = called(adapter.estimator(), tokens, mask, index)
    rows = advantages[:, 0].tolist()
    assert rows[:2] + rows[4:5] == ngrpo_advantages(torch.tensor([[0.0, 0.0, 1.0]]))[0].tolist()
    assert advantages[[2, 3, 5, 6]].abs().sum() == 0


def test_filtered_groups_get_zero():
    tokens, mask = batch([1.0, 1.0, 0.0, 1.0])
    advantages, _ = called(adapter.estimator("psr"), tokens, mask, [0, 0, 1, 1])
    assert advantages[:, 0].tolist() == [1.0, 1.0, 0.0, 1.0]
    advantages, _ = called(adapter.estimator("psr", filter="all_correct"), tokens, mask, [0, 0, 1, 1])
    assert advantages[:, 0].tolist() == [0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("ppo", {}, "needs a critic, which SkyRL does not have"),
        ("rl_zvp", {}, "need entropies, which SkyRL does not give"),
        ("dapo", {}, "allowed is overlong_buffer_tokens=0"),
        ("ngrpo", {"num_virtuals": 1}, "did you mean 'num_virtual'"),
        ("ngrpo", {"refill": True}, "SkyRL refills by dynamic_sampling"),
    ],
)
def test_what_skyrl_cannot_express_is_an_error(method, settings, message):
    with pytest.raises(ConfigError, match=message):
        adapter.estimator(method, **settings)


class Registry:
    functions: ClassVar[dict] = {}

    @classmethod
    def list_available(cls):
        return list(cls.functions)

    @classmethod
    def get(cls, name):
        return cls.functions[name]

    @classmethod
    def unregister(cls, name):
        del cls.functions[name]


def register_advantage_estimator(name):
    def decorator(function):
        @wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)

        if name in Registry.functions:
            raise ValueError(f"{name} already registered")
        Registry.functions[name] = wrapper
        return wrapper

    return decorator


@pytest.fixture
def skyrl(monkeypatch):
    monkeypatch.setattr(Registry, "functions", {"grpo": len})
    names = adapter.HOMES[0].split(".")
    for depth in range(1, len(names) + 1):
        module = ModuleType(".".join(names[:depth]))
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
        module.__path__ = []
        monkeypatch.setitem(sys.modules, module.__name__, module)
    module.AdvantageEstimatorRegistry = Registry
    module.register_advantage_estimator = register_advantage_estimator
    return Registry


def test_importing_registers_and_register_replaces_its_own(skyrl):
    importlib.reload(adapter)
    assert sorted(skyrl.functions) == ["grpo", "ngrpo"]
    tokens, mask = batch([0.0, 0.0])
    one = called(skyrl.functions["ngrpo"], tokens, mask, [0, 0])[0][0, 0]
    adapter.register("ngrpo", num_virtual=2)
    two = called(skyrl.functions["ngrpo"], tokens, mask, [0, 0])[0][0, 0]
    assert (float(one), float(two)) == pytest.approx((-(3**-0.5), -((3 / 4) ** 0.5)), abs=1e-5)
    importlib.reload(adapter)  # as in a worker, which gets the driver's estimators through Ray
    assert float(called(skyrl.functions["ngrpo"], tokens, mask, [0, 0])[0][0, 0]) == float(two)
    adapter.register("w_reinforce", method="psr_nsr")
    got = called(skyrl.functions["w_reinforce"], *batch([0.0, 1.0]), [0, 0])[0][:, 0]
    assert torch.equal(got, w_reinforce_advantages(torch.tensor([[0.0, 1.0]]))[0])


def test_a_name_of_skyrls_own_is_refused(skyrl):
    with pytest.raises(ConfigError, match="SkyRL already has an estimator 'grpo'"):
        adapter.register("grpo", method="grpo")


def test_without_skyrl_registering_says_how_to_get_it():
    if adapter._home() is not None:
        pytest.skip("SkyRL is installed")
    with pytest.raises(ConfigError, match="SkyRL is not installed: pip install skyrl"):
        adapter.register()
