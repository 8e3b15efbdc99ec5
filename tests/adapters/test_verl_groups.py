"""What a step of verl keeps, samples further and tells; needs neither verl nor Ray."""

from __future__ import annotations

import math
import random

import pytest
import torch

from ngrpo.adapters.verl_groups import SampledGroups, in_fixed_order
from ngrpo.advantages import ngrpo_advantages
from ngrpo.methods import load_method

NAN = math.nan


def sampled(method, *groups, problems=None, rounds=1):
    rewards = {f"g{i}_{j}_0": reward for i, group in enumerate(groups) for j, reward in enumerate(group)}
    return SampledGroups.graded(rewards, method, problems=problems or len(groups), rounds=rounds)


@pytest.fixture
def method():
    return load_method({"name": "ngrpo", "filter": "all", "max_refill_factor": 3.0})


def wanted(found, method, batch_size=2):
    return found.wanted(batch_size, method, empty_steps=10, max_ungraded_share=0.5)


def test_dropped_groups_are_replaced_until_the_bound(method):
    one = sampled(method, (0, 1), (1, 1))
    assert one.kept == {"g0"}
    assert wanted(one, method) == 1
    assert wanted(sampled(method, (0, 1), (0, 1)), method) == 0
    assert wanted(sampled(method, (0, 1), (1, 1), problems=6), method) == 0
    assert wanted(sampled(method, (0, 1), problems=5), method) == 1
    no_refill = load_method({"name": "ngrpo", "filter": "all", "refill": False})
    assert wanted(sampled(no_refill, (0, 1), (1, 1)), no_refill) == 0


def test_without_any_group_it_is_drawn_on_for_as_long_as_ten_empty_steps(method):
    assert wanted(sampled(method, (1, 1), (0, 0), problems=6), method) == 2
    assert wanted(sampled(method, (1, 1), (0, 0), problems=59), method) == 2
    assert wanted(sampled(method, (1, 1), (0, 0), problems=60), method) == 0
    # A broken grader is not helped by more.
    assert wanted(sampled(method, (NAN, NAN), (NAN, 0), problems=6), method) == 0
    assert wanted(SampledGroups({}, frozenset(), 6, 1), method) == 0


def test_metrics_are_those_of_everything_drawn(method):
    found = sampled(method, (0, 0, 0), (1, 1, 1), (0, 1, NAN), (NAN, NAN, 1), problems=5, rounds=2)
    assert found.kept == {"g2"}
    metrics = found.metrics(method)
    assert [metrics[f"group/{kind}"] for kind in ("all_wrong", "all_correct", "mixed", "ungraded")] == [0.25] * 4
    assert metrics["reward/mean"] == pytest.approx(5 / 9)
    assert metrics["reward/ungraded"] == 0.25
    assert (metrics["batch/groups"], metrics["batch/sampled_groups"], metrics["batch/rounds"]) == (1, 5, 2)
    expected = ngrpo_advantages(torch.tensor([[0.0, 1.0]]))[0]
    assert metrics["advantage/positive_mass"] == pytest.approx(float(expected[1]))
    assert metrics["advantage/from_mixed"] == 1.0
    assert metrics["advantage/nonzero"] == pytest.approx(2 / 12)


def test_nothing_is_said_of_advantages_that_rewards_do_not_give():
    ppo = load_method({"name": "ppo"})
    metrics = sampled(ppo, (0, 1), (0, 0)).metrics(ppo)
    assert metrics["group/mixed"] == 0.5
    assert not any(name.startswith("advantage/") for name in metrics)


def test_the_order_of_rows_does_not_depend_on_the_order_of_arrival():
    uids = [f"{number:08x}" for number in random.Random(0).sample(range(2**32), 9)]
    expected = [f"{uid}_{sample}_{output}" for uid in uids for sample in range(12) for output in range(2)]
    for seed in range(5):
        arrived = random.Random(seed).sample(expected, len(expected))
        assert in_fixed_order(arrived, uids) == expected
    assert in_fixed_order(["x_0_0", "b_1_0", "a_0_0"], ["b"]) == ["b_1_0", "a_0_0", "x_0_0"]
