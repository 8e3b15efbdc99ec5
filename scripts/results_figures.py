"""The figures of docs/results.md, from docs/results/countdown.json: `scripts/publish_results.py` writes them.

Each is at most 390 pixels wide, and says what it says in grey too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
from results_names import OF_THE_LAW, REGIMES, SECOND_TASK, name_of

from ngrpo.charts.chart_files import save_chart

INK, GREY, GRID = "#1c1e21", "#5f6368", "#ececea"
STATISTICS = {"auc": "AUC", "1": "Pass@1", "64": "Pass@64"}


class Row(NamedTuple):
    """A line of a figure: its heading, its name, and what it has of each statistic: value, low, high, in points."""

    group: str
    name: str
    values: Mapping[str, tuple[float, float, float]]


def write_figures(table: Mapping[str, Any], folder: Path) -> Iterator[Path]:
    """Writes the figures that the results have rows for; yields their paths."""
    differences = table["differences"]
    figures = {
        "methods.svg": _grid([_row(row, REGIMES[row["table"]]) for row in differences if row["table"] in REGIMES]),
        "sums.svg": _grid([_row(row, SECOND_TASK[row["table"]]) for row in differences if row["table"] in SECOND_TASK]),
        "ladder.svg": _grid([_row(row, "") for row in differences if row["table"] == "ladder"]),
        "law.svg": _grid(_law_rows(table)),
        "pass_at_k.svg": _curves([row for row in differences if row["table"] == "methods"]),
        "share.svg": _against_share(table),
        "dose.svg": _against_dose(table),
    }
    for name, chart in figures.items():
        if chart is not None:
            save_chart(chart, folder / name)
            yield folder / name


def _row(difference: Mapping[str, Any], group: str) -> Row:
    values = {"auc": (difference["auc_difference"], *difference["ci95"])}
    for k in ("1", "64"):
        values[k] = (difference["pass_at_k_difference"][k], *difference["pass_at_k_ci95"][k])
    name = name_of(difference["a"])
    return Row(group, name, {key: tuple(100 * v for v in ends) for key, ends in values.items()})


def _law_rows(table: Mapping[str, Any]) -> list[Row]:
    """Returns the methods of the law by their f(0), the largest first."""
    found = []
    for name, of in sorted(table["law"]["methods"].items(), key=lambda item: -item[1]["f0"]):
        label = f"{name_of(name)}  {of['f0']:.1f}"
        if name == "grpo":
            found.append(Row("", label, dict.fromkeys(STATISTICS, (0.0, 0.0, 0.0))))
            continue
        rows = [row for row in table["differences"] if row["a"] == name and row["table"] in OF_THE_LAW]
        found.append(_row(rows[-1], "")._replace(name=label))
    return found


def _grid(rows: Sequence[Row]) -> Any:
    """Returns a column of intervals for each statistic, with a line at 0; None without a row."""
    if not rows:
        return None
    blocks = []
    groups = list(dict.fromkeys(row.group for row in rows))
    for group in groups:
        of_group = [row for row in rows if row.group == group]
        last = group == groups[-1]
        columns = [
            _column(of_group, statistic, rows, labels=not at, titled=last) for at, statistic in enumerate(STATISTICS)
        ]
        # Flush: the labels of the last group would otherwise move its columns away from those above.
        block = alt.hconcat(*columns, spacing=14, bounds="flush")
        blocks.append(block.properties(title=alt.TitleParams(group, fontSize=12, anchor="start")) if group else block)
    return _styled(alt.vconcat(*blocks, spacing=6))


def _column(rows: Sequence[Row], statistic: str, everything: Sequence[Row], *, labels: bool, titled: bool) -> Any:
    values = [
        {
            "name": row.name,
            "value": row.values[statistic][0],
            "low": row.values[statistic][1],
            "high": row.values[statistic][2],
        }
        for row in rows
    ]
    ends = [end for row in everything for end in row.values[statistic]]
    margin = 0.03 * (max(ends) - min(ends))
    scale = alt.Scale(domain=[min(ends) - margin, max(ends) + margin], nice=False)
    axis = alt.Axis(labelLimit=130) if labels else alt.Axis(labels=False)
    y = alt.Y("name:N", sort=None, title=None, axis=axis)
    x_axis = alt.Axis(grid=True, tickCount=3, labels=titled, title=STATISTICS[statistic] if titled else None)
    base: Any = alt.Chart(alt.Data(values=values))  # type: ignore[no-untyped-call]
    zero: Any = alt.Chart(alt.Data(values=[{"value": 0}]))  # type: ignore[no-untyped-call]
    rule = base.mark_rule(color=INK, strokeWidth=2).encode(x=alt.X("low:Q", scale=scale, axis=x_axis), x2="high:Q", y=y)
    point = base.mark_point(color=INK, filled=True, size=34, opacity=1).encode(x=alt.X("value:Q", scale=scale), y=y)
    line = zero.mark_rule(color=GREY, strokeDash=[2, 2]).encode(x=alt.X("value:Q", scale=scale))
    return alt.layer(line, rule, point).properties(width=76, height=16 * len(rows))


def _curves(differences: Sequence[Mapping[str, Any]]) -> Any:
    """Returns each method's Pass@k less GRPO's over k, with the band that holds for all k; None without a method."""
    panels = []
    ends = [100 * end for row in differences for pair in row["band95"].values() for end in pair]
    for at, row in enumerate(differences):
        values = [
            {"k": int(k), "value": 100 * row["pass_at_k_difference"][k], "low": 100 * low, "high": 100 * high}
            for k, (low, high) in row["band95"].items()
        ]
        base: Any = alt.Chart(alt.Data(values=values))  # type: ignore[no-untyped-call]
        zero: Any = alt.Chart(alt.Data(values=[{"value": 0}]))  # type: ignore[no-untyped-call]
        ks = [value["k"] for value in values]
        below, left = at >= len(differences) - 2, at % 2 == 0
        x = alt.X(
            "k:Q",
            scale=alt.Scale(type="log", base=2, nice=False),
            axis=alt.Axis(values=ks, grid=False, labels=below, title="k" if below else None),
        )
        scale = alt.Scale(domain=[min(ends), max(ends)], nice=False)
        y = alt.Y("low:Q", scale=scale, axis=alt.Axis(tickCount=4, labels=left, title="points" if left else None))
        band = base.mark_area(color=GREY, opacity=0.3).encode(x=x, y=y, y2="high:Q")
        line = base.mark_line(color=INK, strokeWidth=2, point=alt.OverlayMarkDef(color=INK)).encode(x=x, y="value:Q")
        rule = zero.mark_rule(color=GREY, strokeDash=[2, 2]).encode(y="value:Q")
        name = name_of(row["a"])
        panels.append(alt.layer(band, rule, line).properties(width=150, height=110, title=f"{name} - GRPO"))
    if not panels:
        return None
    return _styled(alt.concat(*panels, columns=2, spacing=10))


def _points(difference: Mapping[str, Any], **given: Any) -> list[dict[str, Any]]:
    """Returns a difference as a row for each statistic, in points."""
    row = _row(difference, "")
    found = []
    for statistic, title in STATISTICS.items():
        value, low, high = row.values[statistic]
        found.append({"statistic": title, "value": value, "low": low, "high": high, **given})
    return found


def _against_share(table: Mapping[str, Any]) -> Any:
    """Returns NGRPO minus GRPO against the share of all-wrong groups at the start; None without a tier."""
    starts = {row["tier"]: 100 * row["all_wrong"] for row in table["tiers"]}
    values = []
    for row in table["differences"]:
        name, _, tier = row["table"].partition("-")
        if name == "tier":
            values += _points(row, share=starts[tier])
    panels = []
    for statistic in STATISTICS.values():
        last = statistic == "Pass@64"
        x = alt.X(
            "share:Q",
            scale=alt.Scale(domain=[0, 100]),
            axis=alt.Axis(grid=False, labels=last, title="all-wrong groups at the start, %" if last else None),
        )
        panels.append(_intervals([v for v in values if v["statistic"] == statistic], x, 300, 90, statistic))
    return _styled(alt.vconcat(*panels, spacing=8)) if values else None


def _against_dose(table: Mapping[str, Any]) -> Any:
    """Returns NGRPO and the control minus GRPO against the weight of all-wrong groups, a column a tier."""
    starts = {row["tier"]: f"{100 * row['all_wrong']:.0f}" for row in table["tiers"]}
    values = []
    for row in table["differences"]:
        name, _, tier = row["table"].partition("-")
        method, _, weight = row["a"].partition(", ")
        if name == "dose":
            values += _points(row, tier=starts[tier], method=name_of(method), weight=weight or "1")
    tiers = list(dict.fromkeys(value["tier"] for value in values))
    rows = []
    for statistic in STATISTICS.values():
        last, panels = statistic == "Pass@64", []
        for tier in tiers:
            x = alt.X(
                "weight:N", axis=alt.Axis(grid=False, labels=last, labelAngle=0, title="weight" if last else None)
            )
            of_panel = [v for v in values if v["statistic"] == statistic and v["tier"] == tier]
            title = f"{tier} % all-wrong" if statistic == "AUC" else ""
            panels.append(_intervals(of_panel, x, 84, 80, statistic if tier == tiers[0] else None, title))
        rows.append(alt.hconcat(*panels, spacing=12, bounds="flush").resolve_scale(y="shared"))
    return _styled(alt.vconcat(*rows, spacing=8)) if values else None


def _intervals(
    values: Sequence[Mapping[str, Any]], x: Any, width: int, height: int, y: str | None, title: str = ""
) -> Any:
    """Returns points with intervals and a line at 0; of two methods the second one is hollow, beside the first."""
    base: Any = alt.Chart(alt.Data(values=list(values)))  # type: ignore[no-untyped-call]
    zero: Any = alt.Chart(alt.Data(values=[{"value": 0}]))  # type: ignore[no-untyped-call]
    encodings: dict[str, Any] = {"x": x}
    methods = list(dict.fromkeys(value["method"] for value in values if "method" in value))
    fill: Any = alt.value(INK)
    if methods:
        encodings["xOffset"] = alt.XOffset("method:N", sort=methods)
        fill = alt.condition(alt.datum.method == methods[0], alt.value(INK), alt.value("#ffffff"))
    axis = alt.Axis(tickCount=4, title=y and f"{y}, points", labels=y is not None)
    rule = base.mark_rule(color=INK, strokeWidth=1.5).encode(y=alt.Y("low:Q", axis=axis), y2="high:Q", **encodings)
    point = base.mark_point(stroke=INK, size=34, opacity=1, strokeWidth=1.5).encode(y="value:Q", fill=fill, **encodings)
    line = zero.mark_rule(color=GREY, strokeDash=[2, 2]).encode(y="value:Q")
    return alt.layer(line, rule, point).properties(width=width, height=height, title=title)


def _styled(chart: Any) -> Any:
    return (
        chart.configure(background="#ffffff", font="sans-serif")
        .configure_view(stroke=None)
        .configure_axis(
            domain=False,
            ticks=False,
            gridColor=GRID,
            labelColor=INK,
            titleColor=GREY,
            titleFontWeight="normal",
            labelFontSize=11,
        )
        .configure_title(fontSize=12, color=INK)
    )
