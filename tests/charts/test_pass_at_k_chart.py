"""The chart of Pass@k: a logarithmic axis, percent, and a band only where intervals are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ngrpo.charts.chart_files import save_chart
from ngrpo.charts.pass_at_k_chart import pass_at_k_chart
from ngrpo.errors import ConfigError
from ngrpo.evaluation.samples.counts import Counts
from ngrpo.evaluation.statistics.intervals import Interval
from ngrpo.evaluation.statistics.summary import Summary, summarize


def summary(c: list[int]) -> Summary:
    return summarize(Counts(tuple(map(str, c)), np.full(len(c), 8), np.array(c), np.zeros(len(c), int)), resamples=50)


def spec_of(summaries: dict[str, Summary]) -> dict[str, Any]:
    spec: dict[str, Any] = pass_at_k_chart(summaries).to_dict()
    return spec


def parts(spec: dict[str, Any], mark: str) -> list[dict[str, Any]]:
    """Returns the layers with this mark; the layers of a group share its data."""
    flat = [{"data": layer.get("data"), **part} for layer in spec["layer"] for part in layer.get("layer", [layer])]
    return [part for part in flat if part["mark"]["type"] == mark]


def test_lines_and_bands_are_percent_over_log_k() -> None:
    given = summary([0, 1, 3, 8])
    spec = spec_of({"a": given, "b": summary([0, 0, 1, 2])})
    assert len(parts(spec, "line")) == len(parts(spec, "area")) == 2
    (line, _), (*_, area) = parts(spec, "line"), parts(spec, "area")  # bands lie beneath, the last one's first
    assert line["encoding"]["x"]["scale"]["type"] == "log"
    assert line["encoding"]["x"]["axis"]["values"] == [1, 2, 4, 8]
    values = line["data"]["values"]
    assert [(row["x"], row["y"]) for row in values] == [(k, 100 * share) for k, share in given.pass_at_k.items()]
    low, high = given.pass_at_k_intervals[1]
    assert area["data"]["values"][0] == {"x": 1, "low": 100 * low, "high": 100 * high}
    top = line["encoding"]["y"]["scale"]["domain"][1]
    assert top >= max(100 * interval.high for interval in given.pass_at_k_intervals.values())


def test_without_intervals_there_is_no_band(tmp_path: Path) -> None:
    bare = Summary(1, 2, 2, 0, 0, {1: 0.5, 2: 1.0}, 0.75, 2)
    assert parts(spec_of({"a": bare}), "area") == []
    partial = Summary(1, 2, 2, 0, 0, {1: 0.5, 2: 1.0}, 0.75, 2, {1: Interval(0.1, 0.9)})
    assert parts(spec_of({"a": partial}), "area") == []
    save_chart(pass_at_k_chart({"a": summary([0, 4])}), tmp_path / "c.svg")
    assert "interval" in (tmp_path / "c.svg").read_text()


def test_a_single_k_is_a_point(tmp_path: Path) -> None:
    one = Summary(1, 1, 1, 0, 0, {1: 0.5}, None, 1, {1: Interval(0.1, 0.9)})
    save_chart(pass_at_k_chart({"a": one}), tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_nothing_to_draw() -> None:
    with pytest.raises(ConfigError, match="nothing to draw"):
        pass_at_k_chart({})
