"""The charts of `ngrpo advantages`: advantages by number of correct completions or by reward, gradient weights."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ngrpo.charts.charts import Line, Panel, line_chart, panel_chart

if TYPE_CHECKING:
    import altair as alt

    from ngrpo.cli.advantage_rows import AdvantageRow

_BOLD = "ngrpo"
_REFERENCE = "grpo"


def count_chart(rows: Mapping[str, Sequence[AdvantageRow]], group_size: int) -> alt.TopLevelMixin:
    """Returns a panel per method (methods that agree share one): both advantages against the number of correct ones.

    Args:
        rows: by method, as `advantage_rows` returns them.
        group_size: completions per problem.
    """
    # Rows are compared rounded: some estimators agree but for the last bits.
    same: dict[tuple[tuple[float | None, float | None], ...], list[str]] = {}
    for name, table in rows.items():
        key = tuple((_rounded(row.advantage_correct), _rounded(row.advantage_wrong)) for row in table)
        if any(cell != (None, None) for cell in key):
            same.setdefault(key, []).append(name)
    reference = _both_lines(rows[_REFERENCE]) if _REFERENCE in rows and len(same) > 1 else ()
    panels = [
        Panel(", ".join(names), _both_lines(rows[names[0]]), behind=() if _REFERENCE in names else reference)
        for names in same.values()
    ]
    subtitle = [f"by how many of {group_size} are correct"]
    if reference:
        subtitle[0] += f"; grey: {_REFERENCE}"
    return panel_chart(
        panels,
        title=["Advantage of a correct and of a wrong completion", *subtitle],
        x_title="correct completions",
        y_title="advantage",
    )


def weight_chart(
    success_rates: Sequence[float], weights: Mapping[str, Sequence[float | None]], group_size: int
) -> alt.TopLevelMixin:
    """Returns the expected gradient weight f(p) of every method against the success rate p.

    Args:
        success_rates: the values of p.
        weights: by method, f of each; None where it is undefined.
        group_size: completions per problem.
    """
    return line_chart(
        [Line(name, list(zip(success_rates, values, strict=True))) for name, values in weights.items()],
        title=[
            "Expected gradient weight f(p)",
            f"on-policy, groups of {group_size}: the expected gradient is f(p) times that of the success rate p",
        ],
        x_title="success rate p of the problem",
        y_title="f(p)",
        bold=_BOLD,
    )


def reward_chart(rewards: Sequence[float], advantages: Mapping[str, Sequence[float | None]]) -> alt.TopLevelMixin:
    """Returns the advantages of one group against the rewards of its completions.

    Args:
        rewards: of the group.
        advantages: by method, one per reward; None where it is undefined.
    """
    lines = [Line(name, sorted(dict(zip(rewards, values, strict=True)).items())) for name, values in advantages.items()]
    shown = textwrap.shorten(", ".join(f"{reward:g}" for reward in rewards), 80, placeholder=" …")
    return line_chart(
        lines,
        title=["Advantage by reward", f"one group of {len(rewards)}: {shown}"],
        x_title="reward",
        y_title="advantage",
        bold=_BOLD,
        markers=True,
    )


def _both_lines(rows: Sequence[AdvantageRow]) -> list[Line]:
    """Returns the two lines; an end at which there is no such completion is left out."""
    return [
        Line("correct", [(row.correct, row.advantage_correct) for row in rows if row.advantage_correct is not None]),
        Line("wrong", [(row.correct, row.advantage_wrong) for row in rows if row.advantage_wrong is not None]),
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
