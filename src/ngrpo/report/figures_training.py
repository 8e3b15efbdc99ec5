"""Figures of the training itself: kinds of group, sources of the gradient, and what the policy did step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ngrpo.report.figure import Figure, LegendEntry, Panel, percent, run_legend
from ngrpo.report.report_charts import Axes, Layer, Series, line_spec, stack_spec
from ngrpo.report.reported_run import ReportedRun
from ngrpo.report.step_series import Points, binned, gradient_shares, kind_shares, metric_points

KINDS = {
    "same": "all-wrong, the same answer",
    "some": "all-wrong, some answers repeated",
    "different": "all-wrong, G different answers",
    "all_wrong": "all-wrong",
    "mixed": "mixed",
    "all_correct": "all-correct",
    "ungraded": "ungraded",
}
"""From the bottom of the stack."""
SIGNS = {1: "pushed up", -1: "pushed down", 0: ""}


class Quantity(NamedTuple):
    """A metric over the steps: the question, the axis with its unit, a factor, and how the last value is told."""

    key: str
    slug: str
    question: str
    axis: str
    factor: float
    told: Callable[[float], str]
    note: str = ""


def _four_digits(value: float) -> str:
    return f"{value:.4f}".replace("-", "−")


QUANTITIES = (
    Quantity(
        "reward/mean", "reward", "Does the reward rise?", "mean reward of a completion", 1.0, lambda v: f"{v:.3f}"
    ),
    Quantity(
        "policy/entropy", "entropy", "Does the entropy hold?", "entropy, nats per token", 1.0, lambda v: f"{v:.3f}"
    ),
    Quantity(
        "completion/mean_tokens", "length", "Do completions grow?", "tokens per completion", 1.0, lambda v: f"{v:.1f}"
    ),
    Quantity(
        "completion/truncated",
        "truncation",
        "How many completions are cut?",
        "percent at max_completion_tokens",
        100.0,
        lambda v: f"{v:.1f} %",
    ),
    Quantity(
        "policy/approx_kl",
        "kl",
        "How far does a step move the policy?",
        "KL to the sampling policy, nats",
        1.0,
        _four_digits,
    ),
    Quantity(
        "policy/ref_kl",
        "ref-kl",
        "How far from the start is the policy?",
        "KL to the starting model, nats",
        1.0,
        _four_digits,
    ),
    Quantity(
        "clip/low_fraction",
        "clip-low",
        "How often does the lower clip bind?",
        "percent of tokens with A < 0",
        100.0,
        lambda v: f"{v:.2f} %",
        "Tokens that were pushed down until their ratio fell below 1 − clip_low.",
    ),
    Quantity(
        "clip/high_fraction",
        "clip-high",
        "How often does the upper clip bind?",
        "percent of tokens with A > 0",
        100.0,
        lambda v: f"{v:.2f} %",
        "Tokens that were pushed up until their ratio rose above 1 + clip_high.",
    ),
)


def kinds_figure(runs: Sequence[ReportedRun]) -> Figure:
    """Returns the kinds of group by step, a panel for each run."""
    panels, used, told = [], dict[str, None](), []
    for run in runs:
        shares = kind_shares(run.metrics, run.steps)
        if not shares:
            continue
        layers = [_layer(KINDS[kind], kind, points, 100.0) for kind, points in shares.items()]
        used |= dict.fromkeys(kind for kind in KINDS if kind in shares)
        axes = Axes("step", "percent of groups", y_range=(0, 100))
        panels.append(Panel(_title(run, runs), stack_spec(layers, axes)))
        wrong = [
            sum(parts)
            for parts in zip(*([y for _, y in shares.get(kind, [])] for kind in WRONG if kind in shares), strict=True)
        ]
        mixed = shares.get("mixed", [])
        told.append(f"{run.name}: {percent(_mean(wrong))} all-wrong, {percent(_mean([y for _, y in mixed]))} mixed")
    return Figure(
        "group-kinds",
        "How many groups could teach something?",
        f"Mean over the steps: {'; '.join(told)}." if told else "",
        panels,
        [LegendEntry(KINDS[kind], f"var(--{kind})") for kind in KINDS if kind in used],
        "Everything that was sampled, before the filter."
        + (
            " In an all-wrong group with G different answers the model searches and does not find; with the same "
            "answer G times it no longer searches."
            if {"same", "some", "different"} & used.keys()
            else ""
        ),
        "" if panels else "Neither metrics nor rollouts are there yet.",
    )


WRONG = ("same", "some", "different", "all_wrong")


def gradient_figure(runs: Sequence[ReportedRun]) -> Figure:
    """Returns where the summed absolute advantage comes from, by kind and sign, a panel for each run."""
    stacks: list[tuple[str, list[Layer]]] = []
    kinds, told, signed = dict[str, None](), [], False
    for run in runs:
        shares = gradient_shares(run.metrics, run.steps)
        if not shares:
            continue
        layers = []
        for kind in ("all_wrong", "mixed", "all_correct", "ungraded"):
            for sign in (1, 0, -1):
                if points := shares.get((kind, sign)):
                    name = f"{KINDS[kind]} {SIGNS[sign]}".strip()
                    layers.append(_layer(name, kind, points, -100.0 if sign < 0 else 100.0))
                    kinds[kind] = None
        stacks.append((_title(run, runs), layers))
        wrong = sum(_mean([y for _, y in points]) for (kind, _), points in shares.items() if kind == "all_wrong")
        down = [_mean([y for _, y in points]) for (_, sign), points in shares.items() if sign < 0]
        has_signs = any(sign for _, sign in shares)
        signed = signed or has_signs
        told.append(
            f"{run.name}: {percent(wrong)} from all-wrong groups"
            + (f", {percent(sum(down))} pushes down" if has_signs else "")
        )
    axes = Axes("step", "percent of the summed |advantage|", y_range=_common_range([layers for _, layers in stacks]))
    panels = [Panel(name, stack_spec(layers, axes)) for name, layers in stacks]
    return Figure(
        "gradient",
        "Which groups does the gradient come from?",
        f"Mean over the steps: {'; '.join(told)}." if told else "",
        panels,
        [LegendEntry(KINDS[kind], f"var(--{kind})") for kind in KINDS if kind in kinds],
        "Share of the summed absolute advantage, which is each part's share of the gradient to first order. "
        + (
            "Above 0: completions that are pushed up; below: pushed down."
            if signed
            else "Signs are only in rollouts.jsonl."
        ),
        "" if panels else "No advantages were logged: neither in metrics nor in rollouts.",
    )


def quantity_figures(runs: Sequence[ReportedRun]) -> list[Figure]:
    """Returns a figure for each quantity that some run logged, with a line for each run."""
    figures = []
    for quantity in QUANTITIES:
        lines = [(place, run.name, metric_points(run.metrics, quantity.key)) for place, run in enumerate(runs)]
        lines = [line for line in lines if line[2]]
        if not lines:
            continue
        series = [Series(name, place, _scaled(binned(found), quantity.factor)) for place, name, found in lines]
        ends = [
            f"{line.name} {quantity.told(line.points[0][1])} → {quantity.told(line.points[-1][1])}"
            for line in series[:6]
        ]
        axes = Axes("step", quantity.axis, y_format=".4~g")
        figures.append(
            Figure(
                quantity.slug,
                quantity.question,
                f"{'; '.join(ends)}.",
                [Panel("", line_spec(series, axes, height=170))],
                run_legend([run.name for run in runs]),
                quantity.note,
                columns=1,
            )
        )
    return figures


def _layer(name: str, color: str, points: Points, factor: float) -> Layer:
    return Layer(name, f"var(--{color})", _scaled(binned(points), factor))


def _title(run: ReportedRun, runs: Sequence[ReportedRun]) -> str:
    return run.name if len(runs) > 1 else ""


def _common_range(stacks: Sequence[Sequence[Layer]]) -> tuple[float, float]:
    """Returns a range, in tens, that holds the columns of all stacks."""
    low = high = 0.0
    for layers in stacks:
        for at in range(len(layers[0].points) if layers else 0):
            values = [layer.points[at][1] for layer in layers]
            low = min(low, sum(value for value in values if value < 0))
            high = max(high, sum(value for value in values if value > 0))
    return 10.0 * math.floor(low / 10 + 1e-6), 10.0 * math.ceil(high / 10 - 1e-6) or 10.0


def _scaled(points: Points, factor: float) -> Points:
    return [(x, factor * y) for x, y in points]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
