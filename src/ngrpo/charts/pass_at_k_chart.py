"""The chart of Pass@k over k, with intervals as bands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ngrpo.charts.charts import Line, line_chart

if TYPE_CHECKING:
    import altair as alt

    from ngrpo.evaluation.statistics.summary import Summary


def pass_at_k_chart(summaries: Mapping[str, Summary]) -> alt.TopLevelMixin:
    """Returns Pass@k in percent against k on a logarithmic axis, a line with a band per summary.

    Args:
        summaries: by the name of the line.

    Raises:
        ConfigError: when there is no summary, or none with Pass@k.
    """
    levels = {f"{100 * summary.level:g} %" for summary in summaries.values()}
    return line_chart(
        [_line(name, summary) for name, summary in summaries.items()],
        title=["Pass@k", f"band: {' and '.join(sorted(levels))} interval"],
        x_title="k (completions per problem)",
        y_title="Pass@k, percent",
        markers=True,
        log2_x=True,
    )


def _line(name: str, summary: Summary) -> Line:
    points = [(k, 100 * share) for k, share in summary.pass_at_k.items()]
    intervals = [summary.pass_at_k_intervals.get(k) for k in summary.pass_at_k]
    band = [(100 * interval.low, 100 * interval.high) for interval in intervals if interval is not None]
    return Line(name, points, band if len(band) == len(points) else ())
