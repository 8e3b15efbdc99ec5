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

DISTINCT = "group/all_wrong_distinct"


@dataclass(slots=True)
class StepGroups:
    """The groups of one step: counts of each kind, advantage by kind and sign, groups without any advantage."""

    kinds: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    masses: dict[tuple[str, int], float] = field(default_factory=lambda: defaultdict(float))
    distinct: list[float] = field(default_factory=list)
    dead: int = 0
    groups: int = 0
    group_size: int = 0


def steps_of(groups: Iterable[ScannedGroup], max_reward: float) -> dict[int, StepGroups]:
    """Returns the sums of each step."""
    steps: dict[int, StepGroups] = {}
    for group in groups:
        kind, of_step = group.kind(max_reward), steps.setdefault(group.step, StepGroups())
        of_step.groups += 1
        of_step.kinds[kind] += 1
        of_step.dead += group.is_dead()
        of_step.group_size = max(of_step.group_size, len(group.rewards))
        if kind == "all_wrong":
            of_step.distinct.append(group.distinct_answers())
        for advantage in group.advantages:
            if advantage:
                of_step.masses[kind, 1 if advantage > 0 else -1] += abs(advantage)
    return dict(sorted(steps.items()))


def metric_points(metrics: Sequence[Mapping[str, Any]], key: str) -> Points:
    """Returns step and value of a metric wherever it is a number."""
    found = ((number(line.get("step")), number(line.get(key))) for line in metrics)
    return [(step, value) for step, value in found if step is not None and value is not None]


def kind_shares(
    metrics: Sequence[Mapping[str, Any]], steps: Mapping[int, StepGroups], group_size: int
) -> dict[str, Points]:
    """Returns the share of groups of each kind by step, the all-wrong ones as `different` and `same`.

    With d the mean share of distinct answers of a step's all-wrong groups, (G d - 1) / (G - 1) of them count as
    different: all where every group holds G different answers, none where each holds one. Without answers all-wrong
    groups are one kind, `all_wrong`.

    Args:
        metrics: the lines of metrics.jsonl.
        steps: what rollouts say; it fills in where metrics are missing.
        group_size: G, where no rollouts tell it.
    """
    rows: dict[int, dict[str, float]] = {}
    for step, of_step in steps.items():
        rows[step] = {kind: count / of_step.groups for kind, count in of_step.kinds.items()}
    for line in metrics:
        logged = number(line.get("step"))
        shares = {kind: number(line.get(f"group/{kind}")) for kind in ("all_wrong", "mixed", "all_correct", "ungraded")}
        if logged is not None and shares["all_wrong"] is not None:
            rows[int(logged)] = {kind: share or 0.0 for kind, share in shares.items()}
    distinct = {int(step): value for step, value in metric_points(metrics, DISTINCT)}
    known = {step: sum(s.distinct) / len(s.distinct) for step, s in steps.items() if s.distinct} | distinct
    sizes = [of_step.group_size for of_step in steps.values()]
    size = max(sizes, default=group_size)
    return _split(rows, known, size)


def _split(rows: Mapping[int, Mapping[str, float]], distinct: Mapping[int, float], size: int) -> dict[str, Points]:
    series: dict[str, Points] = {
        kind: [] for kind in ("same", "different", "all_wrong", "mixed", "all_correct", "ungraded")
    }
    for step, row in sorted(rows.items()):
        wrong = row.get("all_wrong", 0.0)
        split = bool(distinct) and size > 1
        share = min(1.0, max(0.0, (size * distinct.get(step, 1.0) - 1) / (size - 1))) if split else 0.0
        parts = {"different": wrong * share, "same": wrong * (1 - share), "all_wrong": 0.0}
        parts = parts if split else {"different": 0.0, "same": 0.0, "all_wrong": wrong}
        for kind, points in series.items():
            points.append((step, parts.get(kind, row.get(kind, 0.0))))
    return {kind: points for kind, points in series.items() if any(value for _, value in points)}


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
