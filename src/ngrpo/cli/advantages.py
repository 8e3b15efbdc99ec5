"""`ngrpo advantages`: what each method gives a correct and a wrong completion, by how many are correct.

And what follows from it: the weight f(p) that the method gives the gradient of a problem with success rate p. With
`--rewards` the advantages of one group of any rewards; with `--out` a chart of the same numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ngrpo.cli.advantage_rows import AdvantageRow, advantage_rows, gradient_weights, group_advantages, method_notes
from ngrpo.errors import ConfigError

if TYPE_CHECKING:
    import altair as alt
    from rich.table import Table

__all__ = ["AdvantageRow", "advantage_rows", "advantage_tables", "advantages"]

SUCCESS_RATES = (0.0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
"""Where the table and --json give f(p)."""

_PANELS = ("advantages", "weights")
_CURVE_POINTS = 200
_FRAME = 3
"""Characters of padding and border that a column adds to its content."""


def advantages(
    group_size: Annotated[
        int | None, typer.Option("--group-size", help="Completions per problem (G).", show_default="8")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="Method to show; repeatable.", show_default="all"),
    ] = None,
    rewards: Annotated[
        str | None, typer.Option("--rewards", help="Show one group of these rewards instead, such as 0,0.5,1.")
    ] = None,
    num_virtual: Annotated[int, typer.Option("--num-virtual", help="Virtual completions of NGRPO.")] = 1,
    max_reward: Annotated[float, typer.Option("--max-reward", help="Reward of a correct completion.")] = 1.0,
    std: Annotated[
        str, typer.Option("--std", help="Deviation that divides: sample (n - 1) or population (n).")
    ] = "sample",
    out: Annotated[
        Path | None, typer.Option("--out", help="Draw a chart: a .png, .svg, .html or .json (Vega-Lite) file.")
    ] = None,
    panel: Annotated[
        str | None, typer.Option("--panel", help="Draw only the advantages or the weights.", show_default="both")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object, unrounded.")] = False,
) -> None:
    """Print what each method gives a correct and a wrong completion, and the gradient's weight that follows."""
    _check_chart(out, panel, rewards)
    settings = {"max_reward": max_reward, "num_virtual": num_virtual, "std": std}
    group = None if rewards is None else _parsed_rewards(rewards, group_size)
    size = 8 if group_size is None else group_size
    shown = _counts_view(size, method, settings) if group is None else _group_view(group, method, settings)
    notes = method_notes(shown.names)
    chart = None if out is None else shown.chart(panel)
    if json_output:
        typer.echo(json.dumps({**shown.numbers, **settings, "notes": notes}))
    else:
        from rich.console import Console

        console = Console()
        listed = ", ".join(f"{key} {value}" for key, value in settings.items())
        typer.echo(listed)
        for heading, first, cells in shown.tables:
            typer.echo(heading)
            for table in _side_by_side(first, cells, console.width):
                console.print(table)
        for name, note in notes.items():
            typer.echo(f"{name}: {note}")
    if out is not None and chart is not None:
        from ngrpo.charts.chart_files import save_chart

        save_chart(chart, out, title="ngrpo advantages")
        typer.echo(f"wrote {out}", err=json_output)


def advantage_tables(rows: Mapping[str, Sequence[AdvantageRow]], width: int) -> Iterator[Table]:
    """Yields tables with a row per number of correct completions and as many methods side by side as fit.

    Args:
        rows: by method, as `advantage_rows` returns them.
        width: characters that a table may take.
    """
    counts = [str(row.correct) for row in next(iter(rows.values()), [])]
    return _side_by_side(("c", counts), {name: [_cell(row) for row in column] for name, column in rows.items()}, width)


@dataclass(frozen=True, slots=True)
class _View:
    """What is shown: numbers for --json; tables of heading, first column and the methods' columns; a chart."""

    names: list[str]
    numbers: dict[str, Any]
    tables: list[tuple[str, tuple[str, list[str]], dict[str, list[str]]]]
    chart: Callable[[str | None], alt.TopLevelMixin]


def _counts_view(group_size: int, methods: Iterable[str] | None, settings: Mapping[str, Any]) -> _View:
    rows = advantage_rows(group_size, methods or None, **settings)
    weights = gradient_weights(rows, SUCCESS_RATES)
    counts = [str(count) for count in range(group_size + 1)]
    rates = [f"{rate:g}" for rate in SUCCESS_RATES]

    def chart(panel: str | None) -> alt.TopLevelMixin:
        import altair as alt

        from ngrpo.cli.advantage_charts import count_chart, weight_chart

        curve = [index / _CURVE_POINTS for index in range(_CURVE_POINTS + 1)]
        charts: dict[str, Any] = {}
        if panel != "weights":
            charts["advantages"] = count_chart(rows, group_size)
        if panel != "advantages":
            charts["weights"] = weight_chart(curve, gradient_weights(rows, curve), group_size)
        return charts[panel] if panel else alt.vconcat(*charts.values(), spacing=40)

    return _View(
        names=list(rows),
        numbers={
            "group_size": group_size,
            "methods": {name: [asdict(row) for row in table] for name, table in rows.items()},
            "success_rates": SUCCESS_RATES,
            "weights": weights,
        },
        tables=[
            (
                f"Advantage of a correct / a wrong completion, c of {group_size} correct",
                ("c", counts),
                {name: [_cell(row) for row in table] for name, table in rows.items()},
            ),
            (
                "Expected gradient weight f(p) of a problem with success rate p, on-policy",
                ("p", rates),
                {name: [_rounded(value) for value in values] for name, values in weights.items()},
            ),
        ],
        chart=chart,
    )


def _group_view(rewards: list[float], methods: Iterable[str] | None, settings: Mapping[str, Any]) -> _View:
    given = group_advantages(rewards, methods or None, **settings)
    sums = {
        name: None if None in values else math.fsum(value or 0.0 for value in values) + 0.0
        for name, values in given.items()
    }
    correct = sum(reward >= settings["max_reward"] for reward in rewards)

    def chart(panel: str | None) -> alt.TopLevelMixin:  # noqa: ARG001
        from ngrpo.cli.advantage_charts import reward_chart

        return reward_chart(rewards, given)

    return _View(
        names=list(given),
        numbers={
            "rewards": rewards,
            "methods": {name: {"advantages": values, "sum": sums[name]} for name, values in given.items()},
        },
        tables=[
            (
                f"Advantages in one group of {len(rewards)}, {correct} of them correct",
                ("reward", [*(f"{reward:g}" for reward in rewards), "sum"]),
                {name: [_rounded(value) for value in (*values, sums[name])] for name, values in given.items()},
            )
        ],
        chart=chart,
    )


def _side_by_side(first: tuple[str, Sequence[str]], cells: Mapping[str, Sequence[str]], width: int) -> Iterator[Table]:
    from rich.table import Table

    heading, labels = first
    widest = max((len(text) for name in cells for text in (name, *cells[name])), default=0)
    columns = max(1, (width - max(map(len, (heading, *labels))) - _FRAME - 1) // (widest + _FRAME))
    names = list(cells)
    for start in range(0, len(names), columns):
        shown = names[start : start + columns]
        table = Table(heading)
        for name in shown:
            table.add_column(name, justify="right", no_wrap=True)
        for row in zip(labels, *(cells[name] for name in shown), strict=True):
            table.add_row(*row)
        yield table


def _check_chart(out: Path | None, panel: str | None, rewards: str | None) -> None:
    """Raises ConfigError before anything is computed or printed for a chart that cannot be drawn."""
    if panel is not None:
        if panel not in _PANELS:
            raise ConfigError(f"--panel must be one of {', '.join(_PANELS)}; got {panel!r}")
        if out is None or rewards is not None:
            raise ConfigError("--panel chooses a part of the chart that --out draws without --rewards")
    if out is not None:
        from ngrpo.charts.chart_files import check_chart_path

        check_chart_path(out)


def _parsed_rewards(text: str, group_size: int | None) -> list[float]:
    try:
        rewards = [float(part) + 0.0 for part in text.split(",")]
    except ValueError:
        rewards = []
    if not rewards or not all(map(math.isfinite, rewards)):
        raise ConfigError(f"--rewards takes finite numbers and commas, such as 0,0.5,1; got {text!r}")
    if group_size not in (None, len(rewards)):
        raise ConfigError(f"--rewards has {len(rewards)} rewards but --group-size is {group_size}: leave one out")
    return rewards


def _cell(row: AdvantageRow) -> str:
    return f"{_rounded(row.advantage_correct)} / {_rounded(row.advantage_wrong)}"


def _rounded(advantage: float | None) -> str:
    return "—" if advantage is None else f"{round(advantage, 3) + 0.0:.3f}"
