"""One grade of several graders: the rewards are added with weights, the first grader decides what is correct."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ngrpo.types import Grade


def weighted_grade(grades: Sequence[Grade], weights: Mapping[str, float]) -> Grade:
    """Returns the grade of a completion that several graders have graded.

    The reward is the sum of weight x reward, rounded to 12 decimals so that weights of 0.7, 0.2 and 0.1 add up to 1; it
    may be negative, or above the best reward of each. Status and answer are those of the first grader. Where one could
    not grade, the completion is ungraded.

    Args:
        grades: one of each grader, in the order of `weights`; at least one.
        weights: grader -> weight.

    >>> weighted_grade([Grade("correct", 1.0, "7", "same"), Grade("wrong", 0.0)], {"strict": 0.8, "format": 0.2})
    Grade(status='correct', reward=0.8, answer='7', reason='strict 1, format 0')
    """
    for name, grade in zip(weights, grades, strict=True):
        if not grade.graded:
            return Grade("ungraded", 0.0, reason=f"{name}: {grade.reason}")
    total = round(sum(weight * grade.reward for weight, grade in zip(weights.values(), grades, strict=True)), 12)
    parts = ", ".join(f"{name} {grade.reward:g}" for name, grade in zip(weights, grades, strict=True))
    return Grade(grades[0].status, total, grades[0].answer, parts)
