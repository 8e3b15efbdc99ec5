"""Figures of what was learned where: Pass@1 by the base's success, and when what the base never solved was solved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ngrpo.evaluation.samples.counts import Counts
from ngrpo.report.figure import Cell, Figure, Panel, Table, run_legend
from ngrpo.report.report_charts import Axes, Series, line_spec
from ngrpo.report.reported_run import ReportedRun
from ngrpo.report.rollout_scan import ScannedGroup
from ngrpo.report.step_series import Points
from ngrpo.report.visible_text import visible_line

MOST_LISTED = 40


class Learner(NamedTuple):
    """A line of the figures: a run, or a variant of a study with its seeds; each seed's evaluations by step."""

    name: str
    place: int
    seeds: Sequence[Sequence[tuple[int, Counts]]]


class Bin(NamedTuple):
    """Problems whose share of correct completions at step 0 is above `low` and up to `high`; never solved: both 0."""

    title: str
    low: float
    high: float


BINS = (
    Bin("never solved by the base", -1.0, 0.0),
    Bin("base up to 12.5 %", 0.0, 0.125),
    Bin("base 12.5 to 50 %", 0.125, 0.5),
    Bin("base above 50 %", 0.5, 1.0),
)


def difficulty_figure(learners: Sequence[Learner], task: str) -> Figure | None:
    """Returns Pass@1 by step in each class of problems, None without an evaluation before training and one after."""
    usable = [learner for learner in learners if any(_has_base(seed) for seed in learner.seeds)]
    if not usable:
        return None
    panels, counted = [], []
    for one in BINS:
        series, sizes = [], []
        for learner in usable:
            points, size = _in_bin(learner, one)
            sizes.append(size)
            if size:
                series.append(Series(learner.name, learner.place, points))
        if series:
            title = f"{one.title} ({max(sizes):,} problems)"
            axes = Axes("step", "Pass@1, percent", y_range=(0, 100) if one.high > 0.5 else None)
            panels.append(Panel(title, line_spec(series, axes, height=160)))
            rises = [f"{line.name} {_change(line.points)}" for line in series[:6]]
            counted.append(f"{one.title}: {', '.join(rises)}")
    return Figure(
        f"difficulty-{task}",
        "Which problems does it learn?",
        f"Pass@1, percentage points from step 0 to the end; {'; '.join(counted)}.",
        panels,
        run_legend([learner.name for learner in learners]),
        "Problems by the share of the base's own completions that are correct. Part of any rise in the lowest class "
        "and of any fall in the highest is regression to the mean: the classes are made from the same completions as "
        "the points at step 0. Compare runs within a class.",
        columns=2,
    )


def first_solved_figure(learners: Sequence[Learner], task: str) -> Figure | None:
    """Returns how many of the problems that the base never solved were solved at least once, by step."""
    series, told = [], []
    for learner in learners:
        seeds = [first_solved(seed) for seed in learner.seeds if _has_base(seed)]
        seeds = [seed for seed in seeds if seed]
        if not seeds:
            continue
        steps = sorted({step for seed in learner.seeds for step, _ in seed})
        reached = [[np.mean([s is not None and s <= step for s in seed.values()]) for step in steps] for seed in seeds]
        points = [
            (float(step), 100 * float(value)) for step, value in zip(steps, np.mean(reached, axis=0), strict=True)
        ]
        series.append(Series(learner.name, learner.place, points))
        size = round(float(np.mean([len(seed) for seed in seeds])))
        told.append(f"{learner.name}: {points[-1][1]:.0f} % of {size:,} by step {steps[-1]}")
    if not series:
        return None
    return Figure(
        f"first-solved-{task}",
        "When are problems solved that the base never solved?",
        f"{'; '.join(told)}.",
        [Panel("", line_spec(series, Axes("step", "percent solved at least once", y_range=(0, 100)), height=220))],
        run_legend([learner.name for learner in learners]),
        "Held-out problems without a correct completion at step 0, and the first evaluation that has one. The base "
        "itself would solve some of them with as many further completions: read the difference between runs, not the "
        "height.",
        columns=1,
    )


def first_solved_table(learners: Sequence[Learner], task: str) -> Table | None:
    """Returns when problems that the base never solved were first solved, earliest first; None with several seeds."""
    if any(len(learner.seeds) > 1 for learner in learners):
        return None
    columns = {learner.name: first_solved(learner.seeds[0]) for learner in learners if _has_base(learner.seeds[0])}
    solved: dict[str, int] = {}
    for column in columns.values():
        for problem, step in column.items():
            if step is not None:
                solved[problem] = min(step, solved.get(problem, step))
    if not solved:
        return None
    listed = sorted(solved, key=lambda problem: (solved[problem], problem))
    rows = [
        [
            Cell(visible_line(problem, 60), number=False),
            *(Cell(_step(column, problem)) for column in columns.values()),
        ]
        for problem in listed[:MOST_LISTED]
    ]
    more = len(listed) - len(rows)
    notes = [f"{more:,} more are left out."] if more > 0 else []
    caption = f"Problems of {task} that the base never solved, by the step of the first correct completion"
    return Table(
        caption,
        ["problem", *columns],
        rows,
        [*notes, "—: not solved in any evaluation, or solved by the base."],
        folded=True,
    )


def training_solved_figure(runs: Sequence[ReportedRun]) -> Figure | None:
    """Returns the same of training problems: their first group all-wrong, a later one with a correct completion."""
    series, told = [], []
    for place, run in enumerate(runs):
        points, count = _later_solved(run.scan.groups, run.max_reward)
        if count:
            series.append(Series(run.name, place, points))
            told.append(f"{run.name}: {points[-1][1]:.0f} % of {count:,}")
    if not series:
        return None
    return Figure(
        "training-first-solved",
        "When are training problems solved whose first group was all-wrong?",
        f"{'; '.join(told)}.",
        [Panel("", line_spec(series, Axes("step", "percent solved at least once"), height=220))],
        run_legend([run.name for run in runs]),
        "Training problems that were sampled in two steps or more; without an evaluation before training this takes "
        "the place of the held-out problems. Luck alone solves some in the second group.",
        columns=1,
    )


def first_solved(evaluations: Sequence[tuple[int, Counts]]) -> dict[str, int | None]:
    """Returns the step of the first evaluation with a correct completion, for each problem without one at step 0."""
    (_, base), *later = evaluations
    unsolved = (base.c == 0) & (base.n > 0)
    found: dict[str, int | None] = {name: None for name, no in zip(base.problem_ids, unsolved, strict=True) if no}
    for step, counts in later:
        for name, correct in zip(counts.problem_ids, counts.c, strict=True):
            if correct > 0 and name in found and found[name] is None:
                found[name] = step
    return found


def _has_base(evaluations: Sequence[tuple[int, Counts]]) -> bool:
    return len(evaluations) > 1 and evaluations[0][0] == 0


def _in_bin(learner: Learner, one: Bin) -> tuple[Points, int]:
    """Returns the mean Pass@1 of the problems in a class by step, over seeds, and how many problems there are."""
    by_step: dict[int, list[float]] = {}
    size = 0
    for evaluations in learner.seeds:
        if not _has_base(evaluations):
            continue
        base = _rates(evaluations[0][1])
        chosen = {name for name, rate in base.items() if one.low < rate <= one.high}
        size = max(size, len(chosen))
        for step, counts in evaluations:
            rates = [rate for name, rate in _rates(counts).items() if name in chosen]
            if rates:
                by_step.setdefault(step, []).append(100 * float(np.mean(rates)))
    return [(float(step), float(np.mean(values))) for step, values in sorted(by_step.items())], size


def _rates(counts: Counts) -> dict[str, float]:
    return {
        name: c / n for name, n, c in zip(counts.problem_ids, counts.n.tolist(), counts.c.tolist(), strict=True) if n
    }


def _later_solved(groups: Sequence[ScannedGroup], max_reward: float) -> tuple[Points, int]:
    first: dict[str, int] = {}
    solved: dict[str, int] = {}
    again: set[str] = set()
    for group in sorted(groups, key=lambda group: group.step):
        kind = group.kind(max_reward)
        if group.problem not in first:
            first[group.problem] = group.step if kind == "all_wrong" else -1
        elif first[group.problem] >= 0 and group.step > first[group.problem]:
            again.add(group.problem)
            if kind in ("mixed", "all_correct"):
                solved.setdefault(group.problem, group.step)
    steps = sorted({group.step for group in groups})
    if not again:
        return [], 0
    return [(float(step), 100 * sum(s <= step for s in solved.values()) / len(again)) for step in steps], len(again)


def _change(points: Points) -> str:
    return f"{points[-1][1] - points[0][1]:+.1f}".replace("-", "−")


def _step(column: Mapping[str, int | None], problem: str) -> str:
    step = column.get(problem)
    return "—" if step is None else f"{step:,}"
