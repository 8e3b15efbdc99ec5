"""Learning by difficulty, on counts made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ngrpo.evaluation.samples.counts import Counts
from ngrpo.report.figures_difficulty import (
    Learner,
    difficulty_figure,
    first_solved,
    first_solved_figure,
    first_solved_table,
)


def counts(**correct: int) -> Counts:
    n = np.full(len(correct), 8)
    return Counts(tuple(correct), n, np.array(list(correct.values())), np.zeros_like(n))


EVALUATIONS = [
    (0, counts(a=0, b=0, c=1, d=4, e=8)),
    (5, counts(a=0, b=2, c=2, d=4, e=8)),
    (9, counts(a=0, b=0, c=3, d=6, e=8)),
]
LEARNERS = [Learner("run", 0, [EVALUATIONS])]


def rows(spec):
    return spec["data"]["values"] if "data" in spec else spec["layer"][0]["data"]["values"]


def test_first_solved_is_the_first_evaluation_with_a_correct_completion():
    assert first_solved(EVALUATIONS) == {"a": None, "b": 5}


def test_problems_are_classed_by_the_base():
    figure = difficulty_figure(LEARNERS, "t")
    assert [panel.title for panel in figure.panels] == [
        "never solved by the base (2 problems)",
        "base up to 12.5 % (1 problems)",
        "base 12.5 to 50 % (1 problems)",
        "base above 50 % (1 problems)",
    ]
    points = [[row["y"] for row in rows(panel.spec)] for panel in figure.panels]
    assert points == [[0.0, 12.5, 0.0], [12.5, 25.0, 37.5], [50.0, 50.0, 75.0], [100.0, 100.0, 100.0]]
    assert "regression to the mean" in figure.note


def test_the_share_solved_at_least_once_never_falls():
    figure = first_solved_figure(LEARNERS, "t")
    assert [row["y"] for row in rows(figure.panels[0].spec)] == [0.0, 50.0, 50.0]
    assert figure.finding == "run: 50 % of 2 by step 9."
    table = first_solved_table(LEARNERS, "t")
    assert [[cell.text for cell in row] for row in table.rows] == [["b", "5"]]


@pytest.mark.parametrize("evaluations", [EVALUATIONS[:1], EVALUATIONS[1:]])
def test_without_an_evaluation_before_and_after_there_is_no_figure(evaluations):
    learners = [Learner("run", 0, [evaluations])]
    assert difficulty_figure(learners, "t") is None
    assert first_solved_figure(learners, "t") is None
    assert first_solved_table(learners, "t") is None


def test_seeds_are_averaged():
    other = [(0, counts(a=0, b=0, c=1, d=4, e=8)), (5, counts(a=4, b=2, c=2, d=4, e=8)), EVALUATIONS[2]]
    figure = first_solved_figure([Learner("variant", 0, [EVALUATIONS, other])], "t")
    assert [row["y"] for row in rows(figure.panels[0].spec)] == [0.0, 75.0, 75.0]
