"""Series by step: shares sum to one, all-wrong groups are split by their answers, gradient by kind and sign."""

from __future__ import annotations

import pytest

from ngrpo.report.rollout_scan import ScannedGroup
from ngrpo.report.step_series import binned, gradient_shares, kind_shares, metric_points, steps_of


def group(step: int, rewards: list[float], answers: list[int], advantages: list[float | None]) -> ScannedGroup:
    return ScannedGroup(step, "p", rewards=list(rewards), answers=answers, advantages=advantages)


GROUPS = [
    group(1, [0.0, 0.0, 0.0], [1, 2, 3], [-1.0, -1.0, -1.0]),
    group(1, [0.0, 0.0, 0.0], [1, 1, 1], [-1.0, -1.0, -1.0]),
    group(1, [0.0, 0.0, 1.0], [1, 1, 2], [-1.0, -1.0, 2.0]),
    group(2, [1.0, 1.0, 1.0], [4, 4, 4], [None, None, None]),
]
METRICS = [
    {"step": 1, "group/all_wrong": 2 / 3, "group/mixed": 1 / 3, "group/all_correct": 0.0, "group/ungraded": 0.0},
    {"step": 2, "group/all_wrong": 0.0, "group/mixed": 0.0, "group/all_correct": 1.0, "group/ungraded": 0.0},
]


@pytest.mark.parametrize("metrics", [METRICS, []])
def test_all_wrong_groups_are_split_by_their_answers(metrics):
    shares = kind_shares(metrics, steps_of(GROUPS, 1.0), 0)
    assert {kind: [round(y, 6) for _, y in points] for kind, points in shares.items()} == {
        "same": [pytest.approx(1 / 3, abs=1e-5), 0.0],
        "different": [pytest.approx(1 / 3, abs=1e-5), 0.0],
        "mixed": [pytest.approx(1 / 3, abs=1e-5), 0.0],
        "all_correct": [0.0, 1.0],
    }


def test_the_logged_share_of_distinct_answers_comes_first_and_needs_no_rollouts():
    metrics = [{**METRICS[0], "group/all_wrong_distinct": 0.25}]
    shares = kind_shares(metrics, {}, 4)
    assert shares["same"] == [(1, pytest.approx(2 / 3))]
    assert "different" not in shares
    assert kind_shares(METRICS, {}, 4)["all_wrong"] == [(1, pytest.approx(2 / 3)), (2, 0.0)]


def test_gradient_by_kind_and_sign():
    shares = gradient_shares(METRICS, steps_of(GROUPS, 1.0))
    assert shares["all_wrong", -1][0] == (1, pytest.approx(0.6))
    assert shares["mixed", -1][0] == shares["mixed", 1][0] == (1, pytest.approx(0.2))
    assert sum(points[0][1] for points in shares.values()) == pytest.approx(1.0)
    from_metrics = gradient_shares([{"step": 1, "advantage/from_all_wrong": 0.25, "advantage/from_mixed": 0.75}], {})
    assert from_metrics == {("all_wrong", 0): [(1.0, 0.25)], ("mixed", 0): [(1.0, 0.75)]}


def test_dead_groups_are_counted():
    steps = steps_of(GROUPS, 1.0)
    assert [(step, of.groups, of.dead) for step, of in steps.items()] == [(1, 3, 0), (2, 1, 1)]


def test_bins_keep_the_mean():
    points = [(float(step), float(step % 7)) for step in range(1000)]
    small = binned(points)
    assert len(small) <= 240
    width = 5
    assert small[0] == (2.0, sum(y for _, y in points[:width]) / width)
    assert binned(points[:240]) == points[:240]


def test_metrics_that_are_no_numbers_are_left_out():
    assert metric_points([{"step": 1, "a": None}, {"step": None, "a": 1}, {"step": 2, "a": 0.5}], "a") == [(2.0, 0.5)]
