"""`ngrpo compare`: the difference of two methods in Pass@k and AUC, paired by problem."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ngrpo.cli.passk import FILTER, METRIC, parsed_ks, read_samples
from ngrpo.cli.share_tables import (
    MISSING,
    Share,
    ShareTable,
    checked_format,
    latex_table,
    markdown_table,
    noted,
    terminal_table,
)
from ngrpo.errors import ConfigError

if TYPE_CHECKING:
    from ngrpo.evaluation.compare import Comparison, Difference


def compare(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="A B",
            help="Two samples files, evaluation folders or run folders; with --against, the training seeds of A.",
        ),
    ],
    against: Annotated[
        list[Path] | None, typer.Option("--against", metavar="B", help="A training seed of B; repeatable.")
    ] = None,
    k: Annotated[
        str | None, typer.Option("--k", help="Values of k, such as 1,8,64.", show_default="1, 2, 4, ... n")
    ] = None,
    ungraded: Annotated[
        str, typer.Option("--ungraded", help="excluded: leave them out; wrong: count them as wrong.")
    ] = "excluded",
    metric: Annotated[str | None, METRIC] = None,
    filter_name: Annotated[str | None, FILTER] = None,
    format_name: Annotated[
        str, typer.Option("--format", help="table, markdown or latex (ready for a paper).")
    ] = "table",
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object, unrounded shares.")] = False,
) -> None:
    """Print how A differs from B in Pass@k and AUC, with 95 % intervals and p-values, paired by problem."""
    ks = None if k is None else parsed_ks(k)
    checked_format(format_name)
    paths_a, paths_b = _sides(files, against)
    # A side is read by itself: only within one side is the same file a mistake.
    a, b = (read_samples(paths, metric=metric, filter_name=filter_name) for paths in (paths_a, paths_b))
    from ngrpo.evaluation import compare as comparing

    found = comparing.compare(list(a.values()), list(b.values()), ks, ungraded=ungraded)
    if json_output:
        numbers = found.to_json()
        numbers["a"], numbers["b"] = ({"files": list(side), **numbers[key]} for key, side in (("a", a), ("b", b)))
        typer.echo(json.dumps(numbers))
        return
    _print(found, list(a), list(b), format_name)


def _sides(files: Sequence[Path], against: Sequence[Path] | None) -> tuple[Sequence[Path], Sequence[Path]]:
    if against:
        return files, against
    if len(files) != 2:
        raise ConfigError(
            f"compare takes two files, A and B, or files of A and --against for each of B; got {len(files)} and no "
            "--against"
        )
    return files[:1], files[1:]


def _print(found: Comparison, a: Sequence[str], b: Sequence[str], format_name: str) -> None:
    headings = ["", _heading("A", a), _heading("B", b), "A - B [95 % interval]"]
    with_p = len(a) == len(b) == 1
    rows = [_row(f"Pass@{k}", difference, with_p) for k, difference in found.pass_at_k.items()]
    if found.auc is not None:
        rows.append(_row(f"AUC over k = 1 to {found.auc_max_k}", found.auc, with_p))
    table = ShareTable([*headings, "p"] if with_p else headings, rows)
    notes = [f"{found.problems} problems, paired; percent, differences in points", *found.notes]
    if format_name != "table":
        typer.echo(noted((latex_table if format_name == "latex" else markdown_table)(table), notes, format_name))
        return
    from rich.console import Console

    Console().print(terminal_table(table))
    for note in notes:
        typer.echo(note)


def _heading(side: str, names: Sequence[str]) -> str:
    return f"{side}: {names[0]}" if len(names) == 1 else f"{side}: mean of {len(names)} seeds"


def _row(name: str, found: Difference, with_p: bool) -> list[str | Share]:
    row: list[str | Share] = [
        name,
        Share(found.a),
        Share(found.b),
        Share(found.difference, found.interval, signed=True),
    ]
    return [*row, _p_value(found.p_value)] if with_p else row


def _p_value(p: float | None) -> str:
    if p is None:
        return MISSING
    return "<0.001" if p < 0.001 else f"{p:.3f}"
