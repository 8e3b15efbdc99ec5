"""`ngrpo passk`: Pass@k and its area from samples files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ngrpo.errors import ConfigError, NgrpoError

if TYPE_CHECKING:
    from rich.table import Table

    from ngrpo.evaluation.summary import Summary


def passk(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="Samples: our JSON lines, the reference implementation's, or CSV with problem_id,n,c.",
        ),
    ],
    k: Annotated[
        str | None, typer.Option("--k", help="Values of k, such as 1,8,64.", show_default="1, 2, 4, ... n")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object, unrounded shares.")] = False,
) -> None:
    """Print Pass@k and its AUC of samples files, in percent."""
    ks = None if k is None else _parse_ks(k)
    summaries = {str(path): _summary(path, ks) for path in files}
    if json_output:
        objects = {path: summary.to_json() for path, summary in summaries.items()}
        typer.echo(json.dumps(next(iter(objects.values())) if len(files) == 1 else {"files": objects}))
        return
    from rich.console import Console

    Console().print(passk_table(summaries))
    for note in _notes(summaries):
        typer.echo(note)


def passk_table(summaries: Mapping[str, Summary]) -> Table:
    """Returns a table with a row per k and a column per summary, in percent.

    Args:
        summaries: by the name that heads the column.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table("")
    for name in summaries:
        table.add_column(Text(name), justify="right", overflow="fold")
    columns = summaries.values()
    table.add_row("problems", *(str(summary.problems) for summary in columns))
    table.add_row("samples per problem", *(str(summary.samples_per_problem) for summary in columns))
    if any(summary.ungraded for summary in columns):
        table.add_row("ungraded samples", *(str(summary.ungraded) for summary in columns))
    for k in sorted({k for summary in columns for k in summary.pass_at_k}):
        table.add_row(f"Pass@{k}", *(_percent(summary.pass_at_k.get(k)) for summary in columns))
    table.add_row("AUC", *(_percent(summary.auc) for summary in columns))
    table.add_row("AUC over k", *(f"1 to {summary.auc_max_k}" for summary in columns))
    return table


def _parse_ks(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--k takes whole numbers and commas, such as 1,8,64; got {text!r}") from None


def _summary(path: Path, ks: list[int] | None) -> Summary:
    from ngrpo.evaluation.samples import read_counts
    from ngrpo.evaluation.summary import summarize

    counts = read_counts(path)
    try:
        return summarize(counts, ks)
    except NgrpoError as error:
        raise type(error)(f"{path}: {error}") from None


def _notes(summaries: Mapping[str, Summary]) -> list[str]:
    notes = []
    for name, summary in summaries.items():
        if summary.ungraded:
            without = (
                f"; problems without any graded one: {summary.ungraded_problems}" if summary.ungraded_problems else ""
            )
            notes.append(f"{name}: {summary.ungraded} ungraded samples are left out{without}")
    return notes


def _percent(share: float | None) -> str:
    return "—" if share is None else f"{100 * share:.2f}"
