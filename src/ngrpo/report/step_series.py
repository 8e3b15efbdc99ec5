"""What happened in the groups of each step, as series for charts: from metrics, and from rollouts where there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ngrpo.report.rollout_scan import ScannedGroup, number

Points = list[tuple[float, float]]
MOST_POINTS = 240
"""Of a line; longer runs are shown as means over as many neighbouring steps as it takes."""

ANSWERS = {"different": "group/all_wrong_distinct", "same": "group/all_wrong_same"}


@dataclass(slots=True)
class StepGroups:
    """The groups of one step: counts of each kind, of all-wrong ones by their answers, advantage by kind and sign.

    `dead` counts the groups without any advantage.
    """

    kinds: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    masses: dict[tuple[str, int], float] = field(default_factory=lambda: defaultdict(float))
    answers: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    dead: int = 0
    groups: int = 0


def steps_of(groups: Iterable[ScannedGroup], max_reward: float) -> dict[int, StepGroups]:
    """Returns the sums of each step."""
    steps: dict[int, StepGroups] = {}
    for group in groups:
        kind, of_step = group.kind(max_reward), steps.setdefault(group.step, StepGroups())
        of_step.groups += 1
        of_step.kinds[kind] += 1
        of_step.dead += group.is_dead()
        if kind == "all_wrong":
            of_step.answers[group.answer_kind()] += 1
        for advantage in group.advantages:
            if advantage:
                of_step.masses[kind, 1 if advantage > 0 else -1] += abs(advantage)
    return dict(sorted(steps.items()))


def metric_points(metrics: Sequence[Mapping[str, Any]], key: str) -> Points:
    """Returns step and value of a metric wherever it is a number."""
    found = ((number(line.get("step")), number(line.get(key))) for line in metrics)
    return [(step, value) for step, value in found if step is not None and value is not None]


def kind_shares(metrics: Sequence[Mapping[str, Any]], steps: Mapping[int, StepGroups]) -> dict[str, Points]:
    """Returns the share of groups of each kind by step, the all-wrong ones as `same`, `some` and `different`.

    An all-wrong group is `different` with G different answers, `same` with one answer G times, else `some`. Where
    neither metrics nor rollouts tell, all-wrong groups are one kind, `all_wrong`.

    Args:
        metrics: the lines of metrics.jsonl.
        steps: what rollouts say; it fills in where metrics are missing.
    """
    rows: dict[int, dict[str, float]] = {}
    answers: dict[int, dict[str, float]] = {}
    for step, of_step in steps.items():
        rows[step] = {kind: count / of_step.groups for kind, count in of_step.kinds.items()}
        answers[step] = {kind: of_step.answers.get(kind, 0) / of_step.groups for kind in ANSWERS}
    for line in metrics:
        logged = number(line.get("step"))
        shares = {kind: number(line.get(f"group/{kind}")) for kind in ("all_wrong", "mixed", "all_correct", "ungraded")}
        if logged is None or shares["all_wrong"] is None:
            continue
        rows[int(logged)] = {kind: share or 0.0 for kind, share in shares.items()}
        told = {kind: number(line.get(key)) for kind, key in ANSWERS.items()}
        if None not in told.values():
            answers[int(logged)] = {kind: share or 0.0 for kind, share in told.items()}
    return _split(rows, answers)


def _split(rows: Mapping[int, Mapping[str, float]], answers: Mapping[int, Mapping[str, float]]) -> dict[str, Points]:
    kinds = ("same", "some", "different", "all_wrong", "mixed", "all_correct", "ungraded")
    series: dict[str, Points] = {kind: [] for kind in kinds}
    for step, row in sorted(rows.items()):
        wrong = row.get("all_wrong", 0.0)
        parts = {**row, "all_wrong": wrong}
        if step in answers:
            told = answers[step]
            parts |= {**told, "some": max(0.0, wrong - sum(told.values())), "all_wrong": 0.0}
        for kind, points in series.items():
            points.append((step, parts.get(kind, 0.0)))
    return {kind: points for kind, points in series.items() if any(value > 1e-9 for _, value in points)}


def gradient_shares(
    metrics: Sequence[Mapping[str, Any]], steps: Mapping[int, StepGroups]
) -> dict[tuple[str, int], Points]:
    """Returns the share of each step's summed absolute advantage by kind and sign; the sign is 0 from metrics alone."""
    if any(of_step.masses for of_step in steps.values()):
        series: dict[tuple[str, int], Points] = defaultdict(list)
        keys = {key for of_step in steps.values() for key in of_step.masses}
        for step, of_step in steps.items():
            total = sum(of_step.masses.values()) or 1.0
            for key in keys:
                series[key].append((step, of_step.masses.get(key, 0.0) / total))
        return dict(series)
    kinds = {
        (kind, 0): metric_points(metrics, f"advantage/from_{kind}") for kind in ("all_wrong", "mixed", "all_correct")
    }
    return {key: points for key, points in kinds.items() if any(value for _, value in points)}


def binned(points: Points, most: int = MOST_POINTS) -> Points:
    """Returns the points, or means of neighbouring ones at the middle of their steps where there are more than `most`.

    >>> binned([(1, 0.0), (2, 1.0), (3, 4.0)], 2)
    [(1.5, 0.5), (3.0, 4.0)]
    """
    if len(points) <= most:
        return points
    width = -(-len(points) // most)
    parts = [points[at : at + width] for at in range(0, len(points), width)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]
