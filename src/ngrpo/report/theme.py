"""Colours of the page and its charts: names with a value on light and one on dark paper, and how charts look.

Specifications hold `var(--name)`, which the page's style sheet resolves, so that a chart follows the reader's scheme; a
picture takes the light values. Series are Okabe and Ito's colours, lightened on dark paper, and each has a dash too.
Kinds of group differ from their neighbours in lightness, so that they can be told apart in grey.
"""

from __future__ import annotations

import re
from typing import Any

COLORS: dict[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#16181b"),
    "raised": ("#f7f7f5", "#1e2125"),
    "ink": ("#1c1e21", "#e7e5e1"),
    "muted": ("#5f6368", "#a3a6aa"),
    "line": ("#e2e2de", "#33373c"),
    "grid": ("#ececea", "#2a2d32"),
    "accent": ("#0b62a8", "#7db8ea"),
    "warn": ("#a33b00", "#f29a66"),
    "base": ("#8a8d91", "#84888d"),
    "s0": ("#0072b2", "#56a8e0"),
    "s1": ("#d55e00", "#f28c45"),
    "s2": ("#009e73", "#3cc29a"),
    "s3": ("#b8679a", "#dd97c3"),
    "s4": ("#b77f00", "#e9b949"),
    "s5": ("#3b8ec2", "#9fd4f5"),
    "same": ("#7d3210", "#8a3c18"),
    "some": ("#c4612f", "#c96a38"),
    "different": ("#eda57f", "#eeb08d"),
    "all_wrong": ("#d98252", "#e08f60"),
    "mixed": ("#2f78b0", "#3d84ba"),
    "all_correct": ("#b5dcef", "#a9d3e8"),
    "ungraded": ("#8f8f8a", "#6d6f72"),
    "positive": ("#0072b2", "#56a8e0"),
    "negative": ("#c4511a", "#f0935f"),
}
DASHES: tuple[tuple[int, ...], ...] = ((1, 0), (7, 3), (9, 3, 2, 3), (3, 3), (14, 4), (2, 2))
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
SERIES = 6
"""Different colours of series; the seventh repeats the first with another dash."""

_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
_VARIABLE = re.compile(r"var\(--([a-z0-9_]+)\)")

CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "domain": False,
        "ticks": False,
        "gridColor": "var(--grid)",
        "labelColor": "var(--muted)",
        "labelFontSize": 11,
        "labelPadding": 6,
        "titleColor": "var(--muted)",
        "titleFontSize": 11,
        "titleFontWeight": "normal",
    },
    "axisX": {"grid": False, "titleAnchor": "end", "titlePadding": 8, "labelFlush": True, "tickCount": 6},
    "axisY": {
        "titleAngle": 0,
        "titleAlign": "left",
        "titleX": 0,
        "titleY": -10,
        "titleBaseline": "bottom",
        "tickCount": 5,
    },
    "legend": {
        "orient": "top",
        "title": None,
        "labelColor": "var(--ink)",
        "labelFontSize": 12,
        "labelLimit": 260,
        "symbolSize": 140,
        "symbolOpacity": 1,
        "offset": 28,
        "symbolStrokeWidth": 0,
    },
    "title": {"color": "var(--ink)", "subtitleColor": "var(--muted)", "anchor": "start", "fontSize": 15, "offset": 12},
    "text": {"color": "var(--ink)"},
}
"""Of every chart."""


def series_color(place: int) -> str:
    """Returns the variable of the colour of a series; -1 is the base model."""
    return "var(--base)" if place < 0 else f"var(--s{place % SERIES})"


def series_dash(place: int) -> tuple[int, ...]:
    """Returns the dash of a series: the first is solid, the base is dotted."""
    return (1, 3) if place < 0 else DASHES[(place + place // SERIES) % len(DASHES)]


def series_shape(place: int) -> str:
    """Returns the shape of a series' points."""
    return "circle" if place < 0 else SHAPES[place % len(SHAPES)]


def style_variables() -> str:
    """Returns the style sheet's variables, for light, for dark, and for print, which is always light."""
    light, dark = ("".join(f"--{name}:{values[scheme]};" for name, values in COLORS.items()) for scheme in (0, 1))
    return (
        f":root{{color-scheme:light dark;{light}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
        f"@media print{{:root{{color-scheme:light;{light}}}}}"
    )


def with_light_colors(value: Any) -> Any:
    """Returns a specification with the values of light paper in place of variables, for a picture."""
    if isinstance(value, dict):
        return {key: with_light_colors(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [with_light_colors(inner) for inner in value]
    if isinstance(value, str) and (match := _VARIABLE.fullmatch(value)):
        return COLORS[match[1]][0]
    return value
