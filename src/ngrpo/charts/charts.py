"""The charts that this project shows, as altair charts; `ngrpo.charts.chart_files` writes them.

Lines are named at their ends and told apart by colour and dash, in colours that a colour-blind reader can tell apart
too. Altair is only loaded when a chart is made.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ngrpo.errors import ConfigError

if TYPE_CHECKING:
    import altair as alt

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours, without the yellow that is hard to see on white and the black of bold lines and text."""

_DASHES: tuple[list[int], ...] = ([1, 0], [6, 3], [2, 2])
_SHAPES = ("circle", "square", "triangle-up")
_BLACK = "#000000"
_GREY = "#767676"
_LIGHT_GREY = "#bbbbbb"
_LABEL_SIZE = 12
_LABEL_HEIGHT = 15
"""Pixels from one line of a label to the next."""
_LABEL_CHARACTERS = 36


@dataclass(frozen=True, slots=True)
class Line:
    """A named line through (x, y) points; where y is None it is undefined, and the line has a gap.

    `band` is the low and the high end of an interval around each point, or empty.
    """

    name: str
    points: Sequence[tuple[float, float | None]]
    band: Sequence[tuple[float, float]] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Panel:
    """One of several small charts side by side: its title, its lines, and lines drawn in grey for comparison."""

    title: str
    lines: Sequence[Line]
    behind: Sequence[Line] = ()


def line_chart(
    lines: Iterable[Line],
    *,
    title: str | Sequence[str],
    x_title: str,
    y_title: str,
    bold: str = "",
    markers: bool = False,
    log2_x: bool = False,
    size: tuple[int, int] = (560, 400),
) -> alt.TopLevelMixin:
    """Returns a chart of lines, each named at its right end; equal lines are drawn once, under all their names.

    Args:
        lines: those without any defined point are left out.
        title: the first string is the title, others are lines below it.
        x_title: what x is, with its unit.
        y_title: what y is, with its unit.
        bold: name of the line to draw thick and black.
        markers: draw the points too.
        log2_x: the x axis is logarithmic, with a tick at each power of two.
        size: width and height of the plot in pixels.

    Raises:
        ConfigError: when no line is left.
    """
    import altair as alt

    merged = merged_lines(line for line in lines if _end(line) is not None)
    if not merged:
        raise ConfigError("there is nothing to draw: no line has a defined point")
    domain = _domain(merged)
    axes = _Axes(x_title, y_title, domain, log2_x)
    layers: list[Any] = [_zero_rule()] if domain[0] < 0 < domain[1] else []
    styles = itertools.cycle(itertools.product(_DASHES, PALETTE))
    for line, label_y in zip(merged, _label_heights(merged, domain, size[1]), strict=True):
        if bold in line.name.split(", "):
            dash, color, width = _DASHES[0], _BLACK, 3.0
        else:
            (dash, color), width = next(styles), 1.8
        if line.band:
            layers.insert(0, _band(line, color, axes))  # beneath all lines
        layers.append(_drawn(line, _Style(color, dash, width, "circle" if markers else ""), axes))
        layers += _end_label(line, color, dash, label_y, size[0])
    return alt.layer(*layers).properties(width=size[0], height=size[1], title=_title(title))


def panel_chart(
    panels: Sequence[Panel],
    *,
    title: str | Sequence[str],
    x_title: str,
    y_title: str,
    columns: int = 4,
    size: tuple[int, int] = (170, 150),
) -> alt.TopLevelMixin:
    """Returns small charts with the same axes, `columns` side by side; a line's name decides its colour in all of them.

    Args:
        panels: at least one.
        title: the first string is the title, others are lines below it.
        x_title: what x is, with its unit.
        y_title: what y is, with its unit.
        columns: panels side by side.
        size: width and height of one panel in pixels.

    Raises:
        ConfigError: without any panel.
    """
    import altair as alt

    if not panels:
        raise ConfigError("there is nothing to draw: no line has a defined point")
    names = list(dict.fromkeys(line.name for panel in panels for line in panel.lines))
    styles = {name: (PALETTE[i % len(PALETTE)], _DASHES[0], _SHAPES[i % len(_SHAPES)]) for i, name in enumerate(names)}
    domain = _domain([line for panel in panels for line in (*panel.lines, *panel.behind)])
    rows: list[Any] = []
    for start in range(0, len(panels), columns):
        row: list[Any] = []
        for panel in panels[start : start + columns]:
            layers: list[Any] = [_zero_rule()]
            axes = _Axes(x_title, "" if row else y_title, domain)
            layers += [_drawn(line, _Style(_LIGHT_GREY, _DASHES[0], 1.2), axes) for line in panel.behind]
            for line in panel.lines:
                color, dash, shape = styles[line.name]
                layers.append(_drawn(line, _Style(color, dash, 1.8, shape), axes))
            heading = alt.TitleParams(_wrapped(panel.title, size[0] // 7), fontSize=_LABEL_SIZE, anchor="middle")
            row.append(alt.layer(*layers).properties(width=size[0], height=size[1], title=heading))
        rows.append(alt.hconcat(*row, spacing=12))
    legend = _legend({name: (color, shape) for name, (color, _, shape) in styles.items()})
    return alt.vconcat(legend, *rows, spacing=10).properties(title=_title(title))


def merged_lines(lines: Iterable[Line]) -> list[Line]:
    """Returns the lines with those of equal points (to six decimals) joined under one name.

    >>> merged_lines([Line("a", [(0, 1.0)]), Line("b", [(0, 2.0)]), Line("c", [(0, 1.0)])])
    [Line(name='a, c', points=[(0, 1.0)]), Line(name='b', points=[(0, 2.0)])]
    """
    same: dict[tuple[tuple[float, float | None], ...], list[Line]] = {}
    for line in lines:
        key = tuple((x, None if y is None else round(y, 6) + 0.0) for x, y in line.points)
        same.setdefault(key, []).append(line)
    return [Line(", ".join(line.name for line in group), group[0].points, group[0].band) for group in same.values()]


class _Style(NamedTuple):
    """How a line is drawn; without a shape it has no markers."""

    color: str
    dash: list[int]
    width: float
    shape: str = ""


class _Axes(NamedTuple):
    """Titles, and the range of y; without a title of the y axis, the axis has no numbers either."""

    x_title: str
    y_title: str
    domain: tuple[float, float]
    log2_x: bool = False

    def x(self, line: Line) -> alt.X:
        import altair as alt

        xs = [x for x, _ in line.points]
        if self.log2_x:
            ticks = [2**exponent for exponent in range(int(max(xs)).bit_length())]
            axis = alt.Axis(grid=False, values=ticks, format="d")
            return alt.X("x:Q", title=self.x_title, axis=axis, scale=alt.Scale(type="log", base=2, nice=False))
        whole = alt.Undefined if any(not isinstance(x, int) for x in xs) else 1
        axis = alt.Axis(grid=False, tickCount=5, tickMinStep=whole)
        return alt.X("x:Q", title=self.x_title, axis=axis, scale=alt.Scale(nice=False))

    def y(self, field_name: str) -> alt.Y:
        import altair as alt

        shown = alt.Axis(title=self.y_title, titlePadding=8)
        axis = shown if self.y_title else alt.Axis(title=None, labels=False, ticks=False)
        return alt.Y(f"{field_name}:Q", axis=axis, scale=alt.Scale(domain=list(self.domain), nice=False))


def _drawn(line: Line, style: _Style, axes: _Axes) -> Any:
    import altair as alt

    values = [{"name": line.name, "x": x, "y": y} for x, y in line.points]
    encoded = _data(values).encode(
        x=axes.x(line),
        y=axes.y("y"),
        tooltip=[
            alt.Tooltip("name:N", title=" "),
            alt.Tooltip("x:Q", title=axes.x_title, format=".4~g"),
            alt.Tooltip("y:Q", title=axes.y_title or "y", format=".3f"),
        ],
    )
    drawn = encoded.mark_line(color=style.color, strokeWidth=style.width, strokeDash=style.dash)
    if not style.shape:
        return drawn
    return drawn + encoded.mark_point(color=style.color, filled=True, shape=style.shape, size=36, opacity=1)


def _band(line: Line, color: str, axes: _Axes) -> Any:
    rows = [{"x": x, "low": low, "high": high} for (x, _), (low, high) in zip(line.points, line.band, strict=True)]
    area = _data(rows).mark_area(color=color, opacity=0.12)
    return area.encode(x=axes.x(line), y=axes.y("low"), y2="high:Q")


def _data(rows: list[dict[str, Any]]) -> Any:
    """Returns a chart of these rows, still without a mark; of no type, for altair's own types do not meet its use."""
    import altair as alt

    return alt.Chart(alt.Data(values=rows))  # type: ignore[no-untyped-call]


def _zero_rule() -> Any:
    return _data([{"y": 0}]).mark_rule(color=_GREY, strokeWidth=1).encode(y="y:Q")


def _end_label(line: Line, color: str, dash: list[int], label_y: float, width: int) -> list[Any]:
    """Returns a line's name to the right of the plot at height `label_y`, and a stroke to it from the line's end."""
    import altair as alt

    end = _end(line)
    if end is None:
        return []
    text = _wrapped(line.name, _LABEL_CHARACTERS)
    chart = _data([{"y": end, "label_y": label_y, "text": text}])
    at_end = chart.encode(x=alt.value(width + 2), x2=alt.value(width + 20), y="y:Q", y2="label_y:Q")
    label = chart.encode(x=alt.value(width + 24), y="label_y:Q", text="text:N")
    return [
        at_end.mark_rule(color=color, strokeWidth=1.8, strokeDash=dash),
        label.mark_text(
            color=_BLACK,
            align="left",
            baseline="middle",
            # The baseline is that of the first line of the text.
            dy=-(len(text) - 1) / 2 * _LABEL_HEIGHT,
            fontSize=_LABEL_SIZE,
            lineHeight=_LABEL_HEIGHT,
        ),
    ]


def _label_heights(lines: Sequence[Line], domain: tuple[float, float], height: int) -> list[float]:
    """Returns where the lines' names go so that none covers another, as near to the lines' ends as that allows."""
    unit = (domain[1] - domain[0]) / height * _LABEL_HEIGHT
    ends = [_end(line) for line in lines]
    order = sorted((i for i, end in enumerate(ends) if end is not None), key=lambda i: (ends[i], -i))
    half = [len(_wrapped(line.name, _LABEL_CHARACTERS)) * unit / 2 for line in lines]
    # Names that touch form a block around the mean of their ends; blocks that touch are joined.
    blocks: list[tuple[list[int], float]] = []
    for index in order:
        block, centre = [index], float(ends[index] or 0.0)
        while blocks and blocks[-1][1] + sum(half[i] for i in blocks[-1][0]) > centre - sum(half[i] for i in block):
            block = blocks.pop()[0] + block
            centre = sum(float(ends[i] or 0.0) for i in block) / len(block)
        blocks.append((block, centre))
    heights = [0.0] * len(lines)
    for block, centre in blocks:
        top = centre - sum(half[i] for i in block)
        for i in block:
            heights[i] = top + half[i]
            top += 2 * half[i]
    return heights


def _legend(styles: dict[str, tuple[str, str]]) -> Any:
    """Returns a strip that names each marker."""
    import altair as alt

    names = list(styles)
    offsets = [sum(30 + 7 * len(name) for name in names[:i]) for i in range(len(names))]
    layers = []
    for name, offset in zip(names, offsets, strict=True):
        color, shape = styles[name]
        one = _data([{"text": name}]).encode(y=alt.value(6))
        key = one.encode(x=alt.value(offset + 6)).mark_point(color=color, filled=True, shape=shape, size=60, opacity=1)
        text = one.encode(x=alt.value(offset + 16), text="text:N")
        layers.append(key)
        layers.append(text.mark_text(color=_BLACK, align="left", baseline="middle", fontSize=_LABEL_SIZE))
    return alt.layer(*layers).properties(width=400, height=12, view=alt.ViewConfig(stroke=None))


def _title(title: str | Sequence[str]) -> alt.TitleParams:
    import altair as alt

    first, *others = [title] if isinstance(title, str) else title
    return alt.TitleParams(first, subtitle=others, anchor="start", fontSize=15, subtitleFontSize=12, offset=12)


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, max(width, 8)) or [""]


def _end(line: Line) -> float | None:
    return next((y for _, y in reversed(line.points) if y is not None), None)


def _domain(lines: Sequence[Line]) -> tuple[float, float]:
    """Returns the range of the y axis: 0 and every defined point, with a margin."""
    values = [y for line in lines for _, y in line.points if y is not None]
    values += [end for line in lines for ends in line.band for end in ends]
    low, high = min(0.0, *values), max(0.0, *values)
    margin = (high - low or 1.0) * 0.04
    return (low - margin if low < 0 else low, high + margin)
