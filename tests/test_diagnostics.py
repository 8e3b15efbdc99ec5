from __future__ import annotations

import json
import math
from dataclasses import astuple

import pytest
import torch

from ngrpo.advantages import grpo_advantages, ngrpo_advantages
from ngrpo.diagnostics import (
    AdvantageMass,
    GroupShares,
    advantage_mass,
    advantage_share_by_kind,
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
