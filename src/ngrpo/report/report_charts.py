"""The shapes of chart that the report has: lines with bands, stacked shares by step, intervals; as wide as their place.

They are altair charts, given as Vega-Lite specifications. Altair is only loaded when a chart is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from ngrpo.report.step_series import Points
from ngrpo.report.theme import CONFIG, series_color, series_dash, series_shape

Spec = dict[str, Any]
_FEW = 40
"""Up to so many points a line shows each."""


@dataclass(frozen=True, slots=True)
class Series:
    """A named line; `place` decides colour, dash and shape, -1 is the base. `band` has the ends at each point."""

    name: str
    place: int
    points: Points
    band: Sequence[tuple[float, float]] = ()


class Axes(NamedTuple):
    """Titles with units; whether x is logarithmic; a range of y, and whether it begins at 0 where there is none.

    In the tooltip, `y_format` is the format of numbers and `band` what the band is.
    """

    x: str
    y: str
    log2_x: bool = False
    y_range: tuple[float, float] | None = None
    y_format: str = ".1f"
    band: str = "95 % band"
    from_zero: bool = True


class Layer(NamedTuple):
    """One part of a stack: its name, the variable of its colour, its points; negative ones are stacked downwards."""

    name: str
    color: str
    points: Points


class Estimate(NamedTuple):
    """A value with its interval."""

    name: str
    value: float
    low: float
    high: float


def line_spec(series: Sequence[Series], axes: Axes, *, height: int = 200) -> Spec:
    """Returns lines with their bands; x may be missing in some series."""
    import altair as alt

    rows: list[dict[str, Any]] = [
        {"s": line.name, "x": x, "y": y, **({"low": line.band[at][0], "high": line.band[at][1]} if line.band else {})}
        for line in series
        for at, (x, y) in enumerate(line.points)
    ]
    names = [line.name for line in series]
    color = _by_series(alt.Color, names, [series_color(line.place) for line in series])
    dash = _by_series(alt.StrokeDash, names, [list(series_dash(line.place)) for line in series])
    shape = _by_series(alt.Shape, names, [series_shape(line.place) for line in series])
    base: Any = alt.Chart(alt.Data(values=rows))  # type: ignore[no-untyped-call]
    x, y = _x(axes, [row["x"] for row in rows]), _y("y", axes)
    tooltip = [
        alt.Tooltip("s:N", title="run"),
        alt.Tooltip("x:Q", title=axes.x, format=",.6~g"),
        alt.Tooltip("y:Q", title=axes.y, format=axes.y_format),
    ]
    layers: list[Any] = []
    if any(row["y"] < 0 or row.get("low", 0.0) < 0 for row in rows):
        layers.append(_zero(y=_y("value", axes)))
    if any(line.band for line in series):
        band = base.transform_filter("isValid(datum.low)").mark_area(opacity=0.14)
        layers.append(band.encode(x=x, y=_y("low", axes), y2="high:Q", color=color))
        tooltip += [
            alt.Tooltip(f"{end}:Q", title=f"{axes.band}, {end}", format=axes.y_format) for end in ("low", "high")
        ]
    layers.append(base.mark_line(strokeWidth=2, clip=True).encode(x=x, y=y, color=color, strokeDash=dash))
    few = max((len(line.points) for line in series), default=0) <= _FEW
    points = base.mark_point(filled=True, size=34 if few else 90, opacity=1 if few else 0)
    layers.append(points.encode(x=x, y=y, color=color, shape=shape, tooltip=tooltip))
    return _finished(alt.layer(*layers), height)


def stack_spec(layers: Sequence[Layer], axes: Axes, *, height: int = 220) -> Spec:
    """Returns stacked columns, one for each x of the layers, which all have the same; the first is nearest to zero."""
    import altair as alt

    xs = [x for x, _ in layers[0].points]
    halves = min((b - a for a, b in pairwise(xs)), default=1.0) / 2
    up, down = dict.fromkeys(xs, 0.0), dict.fromkeys(xs, 0.0)
    rows = []
    for layer in layers:
        for x, value in layer.points:
            ends = up if value >= 0 else down
            row = {"s": layer.name, "x": x - halves, "x2": x + halves, "at": x, "y": ends[x], "share": abs(value)}
            ends[x] += value
            rows.append({**row, "y2": ends[x]})
    color = _by_series(alt.Color, [layer.name for layer in layers], [layer.color for layer in layers])
    columns: Any = alt.Chart(alt.Data(values=rows)).mark_rect(  # type: ignore[no-untyped-call]
        stroke="var(--paper)", strokeWidth=0.4 if len(xs) <= 80 else 0
    )
    domain = [xs[0] - halves, xs[-1] + halves]
    spec = columns.encode(
        x=alt.X(
            "x:Q", title=axes.x, scale=alt.Scale(domain=domain, nice=False), axis=alt.Axis(tickMinStep=1, format="d")
        ),
        x2="x2:Q",
        y=_y("y", axes),
        y2="y2:Q",
        color=color,
        tooltip=[
            alt.Tooltip("s:N", title="part"),
            alt.Tooltip("at:Q", title=axes.x, format=",.6~g"),
            alt.Tooltip("share:Q", title=axes.y, format=axes.y_format),
        ],
    )
    return _finished(spec, height)


def interval_spec(estimates: Sequence[Estimate], places: Sequence[int], axes: Axes) -> Spec:
    """Returns a point with its interval for each name, in the given order from above, and a line at 0 inside of one."""
    import altair as alt

    rows = [{"s": e.name, "value": e.value, "low": e.low, "high": e.high} for e in estimates]
    color = _by_series(alt.Color, [e.name for e in estimates], [series_color(place) for place in places], legend=None)
    base: Any = alt.Chart(alt.Data(values=rows))  # type: ignore[no-untyped-call]
    y = alt.Y("s:N", sort=None, title=None, axis=alt.Axis(labelLimit=170, labelColor="var(--ink)", labelFontSize=12))
    tooltip = [alt.Tooltip("s:N", title=" ")]
    tooltip += [alt.Tooltip(f"{end}:Q", title=end, format=axes.y_format) for end in ("value", "low", "high")]
    scale = alt.Scale(zero=False, padding=12)
    x = alt.X("low:Q", title=axes.x, scale=scale, axis=alt.Axis(grid=True))
    rule = base.mark_rule(strokeWidth=2).encode(x=x, x2="high:Q", y=y, color=color)
    point = base.mark_point(filled=True, size=70, opacity=1).encode(
        x=alt.X("value:Q", scale=scale), y=y, color=color, tooltip=tooltip
    )
    layers = [rule, point]
    if any(estimate.low < 0 < estimate.high for estimate in estimates):
        layers.insert(0, _zero(x=alt.X("value:Q", scale=scale)))
    return _finished(alt.layer(*layers), max(60, 30 * len(rows)))


def _finished(chart: Any, height: int) -> Spec:
    spec: Spec = chart.properties(width="container", height=height).to_dict(validate=False)
    spec["config"] = CONFIG
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return spec


def _zero(**encoding: Any) -> Any:
    """Returns a line at 0."""
    import altair as alt

    zero: Any = alt.Chart(alt.Data(values=[{"value": 0}]))  # type: ignore[no-untyped-call]
    return zero.mark_rule(color="var(--muted)", strokeDash=[2, 2]).encode(**encoding)


def _by_series(kind: Any, names: Sequence[str], values: Sequence[Any], **options: Any) -> Any:
    import altair as alt

    return kind("s:N", scale=alt.Scale(domain=list(names), range=list(values)), **options)


def _x(axes: Axes, xs: Sequence[float]) -> Any:
    import altair as alt

    if axes.log2_x:
        # A logarithmic axis leaves out the labels of ticks beyond its tickCount.
        ticks = [2**exponent for exponent in range(int(max(xs)).bit_length())]
        scale = alt.Scale(type="log", base=2, nice=False)
        return alt.X("x:Q", title=axes.x, axis=alt.Axis(values=ticks, tickCount=64, format=",d"), scale=scale)
    low, high = min(xs, default=0.0), max(xs, default=1.0)
    scale = alt.Scale(domain=[low - 1, high + 1] if low == high else [low, high], nice=False, zero=False)
    return alt.X("x:Q", title=axes.x, axis=alt.Axis(tickMinStep=1, format=",d"), scale=scale)


def _y(name: str, axes: Axes) -> Any:
    import altair as alt

    fixed: Mapping[str, Any] = (
        {"domain": list(axes.y_range), "nice": False} if axes.y_range else {"zero": axes.from_zero}
    )
    return alt.Y(f"{name}:Q", title=axes.y, scale=alt.Scale(**fixed))
