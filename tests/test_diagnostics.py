from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import astuple

import pytest
import torch

from ngrpo.advantages import constant_advantages, grpo_advantages, ngrpo_advantages, w_reinforce_advantages
from ngrpo.diagnostics import (
    AdvantageMass,
    GroupShares,
    advantage_mass,
    advantage_share_by_kind,
    expected_gradient_weight,
    group_metrics,
    group_shares,
    nonzero_advantage_share,
)
from ngrpo.errors import ConfigError

# Rows: all-wrong, mixed, mixed, all-correct, ungraded.
REWARDS = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.5], [1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, math.nan, math.nan]])
VALID = ~REWARDS.isnan()


def test_group_shares() -> None:
    shares = group_shares(REWARDS, valid=VALID)
    assert astuple(shares) == pytest.approx((0.2, 0.2, 0.4, 0.2))
    assert group_shares(torch.zeros(3, 2)) == GroupShares(1, 0, 0, 0)
    assert group_shares(torch.zeros(0, 2)) == GroupShares(0, 0, 0, 0)


def test_advantage_mass_counts_valid_completions_only() -> None:
    advantages = torch.tensor([[1.0, -2.0, 4.0], [-0.5, 0.0, math.nan]])
    valid = torch.tensor([[True, True, False], [True, True, False]])
    assert advantage_mass(advantages, valid) == AdvantageMass(positive=1.0, negative=2.5)
    assert nonzero_advantage_share(advantages, valid) == pytest.approx(3 / 6)


def test_negative_mass_outweighs_positive_under_ngrpo_and_balances_under_grpo() -> None:
    ngrpo = advantage_mass(ngrpo_advantages(REWARDS, valid=VALID), VALID)
    grpo = advantage_mass(grpo_advantages(REWARDS, valid=VALID), VALID)
    assert ngrpo.negative > ngrpo.positive
    assert grpo.negative == pytest.approx(grpo.positive)


def test_advantage_share_by_kind() -> None:
    advantages = ngrpo_advantages(REWARDS, valid=VALID)
    shares = advantage_share_by_kind(REWARDS, advantages, valid=VALID)
    rows = [sum(abs(a) for a in row) for row in advantages.tolist()]
    assert shares.all_wrong == pytest.approx(rows[0] / sum(rows))
    assert shares.mixed == pytest.approx((rows[1] + rows[2]) / sum(rows))
    assert (shares.all_correct, shares.ungraded) == (0, 0)
    assert sum(astuple(shares)) == pytest.approx(1)
    assert advantage_share_by_kind(REWARDS, grpo_advantages(REWARDS, valid=VALID), valid=VALID).all_wrong == 0
    nothing = advantage_share_by_kind(REWARDS, torch.zeros_like(REWARDS), valid=VALID)
    assert astuple(nothing) == (0, 0, 0, 0)


def test_group_metrics() -> None:
    metrics = group_metrics(REWARDS, ngrpo_advantages(REWARDS, valid=VALID), valid=VALID)
    expected = {
        "group/all_wrong": 0.2,
        "group/all_correct": 0.2,
        "group/mixed": 0.4,
        "group/ungraded": 0.2,
        "reward/mean": 6.5 / 13,
        "reward/correct": 6 / 13,
        "reward/ungraded": 2 / 15,
        "advantage/nonzero": 9 / 15,
    }
    assert {key: metrics[key] for key in expected} == pytest.approx(expected)
    assert metrics["advantage/negative_mass"] > metrics["advantage/positive_mass"] > 0
    sources = [metrics[f"advantage/from_{kind}"] for kind in ("all_wrong", "all_correct", "mixed")]
    assert sum(sources) == pytest.approx(1)


@pytest.mark.parametrize("rewards", [REWARDS, torch.full((2, 2), math.nan), torch.zeros(0, 4), torch.tensor([[1]])])
def test_metrics_are_json(rewards: torch.Tensor) -> None:
    valid = ~rewards.isnan()
    metrics = group_metrics(rewards, torch.zeros(rewards.shape), valid=valid)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert all(type(value) is float for value in metrics.values())


def test_kinds_follow_max_reward() -> None:
    metrics = group_metrics(torch.ones(1, 2), torch.zeros(1, 2), max_reward=2.0)
    assert (metrics["group/all_wrong"], metrics["reward/correct"], metrics["reward/mean"]) == (1, 0, 1)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"advantages have shape \[1, 3\]; allowed is that of rewards, \[1, 2\]"):
        group_metrics(torch.zeros(1, 2), torch.zeros(1, 3))
    with pytest.raises(ConfigError, match=r"torch\.bool"):
        advantage_mass(torch.zeros(1, 2), torch.ones(1, 3, dtype=torch.bool))


def enumerated_weight(estimator: Callable[[torch.Tensor], torch.Tensor], size: int, p: float) -> float:
    """The expectation over all 2^G groups of the mean of A times d log(probability of the completion) / dp."""
    total = 0.0
    for outcome in itertools.product((0.0, 1.0), repeat=size):
        chance = math.prod(p if correct else 1 - p for correct in outcome)
        advantages = estimator(torch.tensor([outcome], dtype=torch.float64))[0].tolist()
        slopes = [1 / p if correct else -1 / (1 - p) for correct in outcome]
        total += chance * sum(a * slope for a, slope in zip(advantages, slopes, strict=True)) / size
    return total


@pytest.mark.parametrize("estimator", [grpo_advantages, ngrpo_advantages, constant_advantages, w_reinforce_advantages])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_expected_gradient_weight_is_the_gradient_over_all_groups(
    estimator: Callable[[torch.Tensor], torch.Tensor], size: int
) -> None:
    by_count = estimator(torch.ones(size + 1, size, dtype=torch.float64).tril(-1))
    rates = torch.tensor([[0.01, 0.3], [0.5, 0.9]])
    weights = expected_gradient_weight(by_count[1:, 0], by_count[:-1, -1], rates)
    assert weights.dtype == torch.float64
    expected = [[enumerated_weight(estimator, size, p) for p in row] for row in rates.tolist()]
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=0)


def test_expected_gradient_weight_at_the_ends_and_in_large_groups() -> None:
    correct, wrong = torch.arange(1.0, 1025.0), -torch.arange(1024.0)
    weights = expected_gradient_weight(correct, wrong, torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64))
    # Linear in K: 1 + 2 K, whose mean is 1 + 2 * 1023 p.
    torch.testing.assert_close(weights, torch.tensor([1, 512.5, 2047], dtype=torch.float64), rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("correct", "wrong", "rate", "message"),
    [
        (torch.ones(2), torch.ones(3), 0.5, r"shapes \[2\] and \[3\]"),
        (torch.ones(0), torch.ones(0), 0.5, r"shapes \[0\] and \[0\]"),
        (torch.ones(2), torch.ones(2), 1.5, "a success rate lies outside 0 to 1"),
        (torch.ones(2), torch.ones(2), math.nan, "a success rate lies outside 0 to 1"),
    ],
)
def test_expected_gradient_weight_refuses(
    correct: torch.Tensor, wrong: torch.Tensor, rate: float, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        expected_gradient_weight(correct, wrong, torch.tensor(rate))
