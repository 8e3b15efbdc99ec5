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
    group(1, [0.0, 0.0, 0.0], [1, 1, 2], [0.0, 0.0, 0.0]),
    group(2, [1.0, 1.0, 1.0], [4, 4, 4], [None, None, None]),
]
METRICS = [
    {"step": 1, "group/all_wrong": 0.75, "group/mixed": 0.25, "group/all_correct": 0.0, "group/ungraded": 0.0},
    {"step": 2, "group/all_wrong": 0.0, "group/mixed": 0.0, "group/all_correct": 1.0, "group/ungraded": 0.0},
]


@pytest.mark.parametrize("metrics", [METRICS, []])
def test_all_wrong_groups_are_split_by_their_answers(metrics):
    shares = kind_shares(metrics, steps_of(GROUPS, 1.0))
    assert shares == {
        "same": [(1, 0.25), (2, 0.0)],
        "some": [(1, 0.25), (2, 0.0)],
        "different": [(1, 0.25), (2, 0.0)],
        "mixed": [(1, 0.25), (2, 0.0)],
        "all_correct": [(1, 0.0), (2, 1.0)],
    }


def test_logged_shares_of_answers_come_first_and_need_no_rollouts():
    metrics = [{**METRICS[0], "group/all_wrong_distinct": 0.5, "group/all_wrong_same": 0.125}]
    for steps in ({}, steps_of(GROUPS[:4], 1.0)):
        shares = kind_shares(metrics, steps)
        assert shares == {"same": [(1, 0.125)], "some": [(1, 0.125)], "different": [(1, 0.5)], "mixed": [(1, 0.25)]}
    assert kind_shares(METRICS, {})["all_wrong"] == [(1, 0.75), (2, 0.0)]


def test_gradient_by_kind_and_sign():
    shares = gradient_shares(METRICS, steps_of(GROUPS, 1.0))
    assert shares["all_wrong", -1][0] == (1, pytest.approx(0.6))
    assert shares["mixed", -1][0] == shares["mixed", 1][0] == (1, pytest.approx(0.2))
    assert sum(points[0][1] for points in shares.values()) == pytest.approx(1.0)
    from_metrics = gradient_shares([{"step": 1, "advantage/from_all_wrong": 0.25, "advantage/from_mixed": 0.75}], {})
    assert from_metrics == {("all_wrong", 0): [(1.0, 0.25)], ("mixed", 0): [(1.0, 0.75)]}


def test_dead_groups_are_counted():
    steps = steps_of(GROUPS, 1.0)
    assert [(step, of.groups, of.dead) for step, of in steps.items()] == [(1, 4, 1), (2, 1, 1)]


def test_bins_keep_the_mean():
    points = [(float(step), float(step % 7)) for step in range(1000)]
    small = binned(points)
    assert len(small) <= 240
    width = 5
    assert small[0] == (2.0, sum(y for _, y in points[:width]) / width)
    assert binned(points[:240]) == points[:240]


def test_metrics_that_are_no_numbers_are_left_out():
    assert metric_points([{"step": 1, "a": None}, {"step": None, "a": 1}, {"step": 2, "a": 0.5}], "a") == [(2.0, 0.5)]
