"""Colours: legible on both papers, and told apart without colour."""

from __future__ import annotations

from itertools import pairwise

import altair as alt
import pytest

from ngrpo.report.figures_training import KINDS
from ngrpo.report.report_charts import Axes, Estimate, Layer, Series, interval_spec, line_spec, stack_spec
from ngrpo.report.theme import (
    COLORS,
    SERIES,
    series_color,
    series_dash,
    series_shape,
    style_variables,
    with_light_colors,
)

POINTS = [(1.0, 1.0), (2.0, -3.0)]
SPECS = {
    "line": line_spec([Series("a", 0, POINTS, [(0, 1), (-4, 2)]), Series("b", -1, POINTS)], Axes("step", "percent")),
    "log": line_spec([Series("a", 0, [(1.0, 1.0), (8.0, 2.0)])], Axes("k", "percent", log2_x=True)),
    "stack": stack_spec([Layer("a", "var(--same)", POINTS), Layer("b", "var(--mixed)", POINTS)], Axes("step", "%")),
    "interval": interval_spec([Estimate("a", 1.0, -1.0, 2.0)], [0], Axes("percent", "")),
}


def luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_and_lines_stand_out_from_the_paper(scheme: int):
    paper = COLORS["paper"][scheme]
    for name in ("ink", "muted", "accent", "warn"):
        assert contrast(COLORS[name][scheme], paper) >= 4.5, name
    for name in (*(f"s{place}" for place in range(SERIES)), "base", "positive", "negative"):
        assert contrast(COLORS[name][scheme], paper) >= 3.0, name


@pytest.mark.parametrize("scheme", [0, 1])
def test_neighbours_in_a_stack_differ_in_grey(scheme: int):
    split = [kind for kind in KINDS if kind != "all_wrong"]
    whole = [kind for kind in KINDS if kind not in ("same", "some", "different")]
    for below, above in (*pairwise(split), *pairwise(whole)):
        assert contrast(COLORS[below][scheme], COLORS[above][scheme]) >= 1.4, (below, above)


def test_series_differ_in_dash_or_shape_too():
    looks = {(series_color(place), series_dash(place)) for place in range(12)}
    assert len(looks) == 12
    assert len({(series_dash(place), series_shape(place)) for place in range(SERIES)}) == SERIES


@pytest.mark.parametrize("name", SPECS)
def test_specifications_are_valid_and_a_picture_has_real_colours(name: str):
    spec = SPECS[name]
    alt.Chart.from_dict({key: value for key, value in spec.items() if key != "config"}, validate=True)
    assert "var(--" in str(spec)
    assert "var(--" not in str(with_light_colors(spec))


def test_every_variable_in_use_has_a_colour():
    style = style_variables()
    assert all(f"--{name}:" in style for name in COLORS)
