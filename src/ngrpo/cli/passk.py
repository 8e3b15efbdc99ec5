"""`ngrpo passk`: Pass@k, its area and their intervals from samples files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ngrpo.cli.samples_path import samples_path
from ngrpo.cli.share_tables import (
    Share,
    ShareTable,
    checked_format,
    latex_table,
    markdown_table,
    noted,
    terminal_table,
)
from ngrpo.errors import ConfigError, NgrpoError

if TYPE_CHECKING:
    from rich.table import Table

    from ngrpo.evaluation.problem_values import SamplesFile
    from ngrpo.evaluation.summary import Summary


METRIC = typer.Option("--metric", help="Which metric of an lm-evaluation-harness log is correctness.")
FILTER = typer.Option("--filter", help="Which filter of an lm-evaluation-harness log is read.")


def passk(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="Samples: our JSON lines, the reference implementation's, an lm-evaluation-harness log, a verl dump, "
            "or CSV with problem_id,n,c; or the folder of an evaluation or a run.",
        ),
    ],
    k: Annotated[
        str | None, typer.Option("--k", help="Values of k, such as 1,8,64.", show_default="1, 2, 4, ... n")
    ] = None,
    ungraded: Annotated[
        str, typer.Option("--ungraded", help="excluded: leave them out; wrong: count them as wrong.")
    ] = "excluded",
    seeds: Annotated[
        bool, typer.Option("--seeds", help="The files are training seeds of one method: show their mean.")
    ] = False,
    majority: Annotated[
        bool, typer.Option("--majority", help="Add maj@k, the share that a majority vote among k answers solves.")
    ] = False,
    metric: Annotated[str | None, METRIC] = None,
    filter_name: Annotated[str | None, FILTER] = None,
    format_name: Annotated[
        str, typer.Option("--format", help="table, markdown or latex (ready for a paper).")
    ] = "table",
    chart: Annotated[
        Path | None, typer.Option("--chart", help="Draw Pass@k over k: a .png, .svg, .html or .json file.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object, unrounded shares.")] = False,
) -> None:
    """Print Pass@k and its AUC of samples files, in percent, with 95 % intervals."""
    ks = None if k is None else parsed_ks(k)
    checked_format(format_name)
    if chart is not None:
        from ngrpo.reports.chart_files import check_chart_path

        check_chart_path(chart)
    read = read_samples(files, metric=metric, filter_name=filter_name)
    summaries = {name: _summary(file, ks, ungraded) for name, file in read.items()}
    votes = _majorities(files, ks, metric=metric, filter_name=filter_name) if majority else {}
    shown = _with_mean(read, summaries, ks, ungraded) if seeds else summaries
    notes = [*_ungraded_notes(summaries), *_cautions(shown, several_seeds=seeds and len(summaries) > 1)]
    if json_output:
        typer.echo(json.dumps({**_json(summaries, shown if seeds else {}, votes), "notes": notes}))
    else:
        _print(shown, notes, format_name, votes)
    if chart is not None:
        from ngrpo.reports.chart_files import save_chart
        from ngrpo.reports.pass_at_k_chart import pass_at_k_chart

        # Of several seeds the mean alone has an interval, and is what the chart is about.
        drawn = dict([next(iter(shown.items()))]) if seeds else shown
        save_chart(pass_at_k_chart(drawn), chart, title="Pass@k")
        typer.echo(f"wrote {chart}", err=json_output or format_name != "table")


Majorities = Mapping[str, Mapping[int, float]]
"""maj@k by k, by the name of the file."""


def passk_table(summaries: Mapping[str, Summary], majorities: Majorities = MappingProxyType({})) -> Table:
    """Returns a table with a row per k and a column per summary, in percent with intervals.

    Args:
        summaries: by the name that heads the column.
        majorities: maj@k of some of them.
    """
    columns = summaries.values()
    rows: list[list[str | Share]] = [
        ["problems", *(str(summary.problems) for summary in columns)],
        ["samples per problem", *(str(summary.samples_per_problem) for summary in columns)],
    ]
    if any(summary.ungraded for summary in columns):
        rows.append(["ungraded samples", *(str(summary.ungraded) for summary in columns)])
    rows += [[f"Pass@{k}", *(_at(summary, k) for summary in columns)] for k in _all_ks(columns)]
    rows.append(["AUC", *(Share(summary.auc, summary.auc_interval) for summary in columns)])
    rows.append(["AUC over k", *(f"1 to {summary.auc_max_k}" for summary in columns)])
    for k in sorted({k for curve in majorities.values() for k in curve}):
        rows.append([f"maj@{k}", *(Share(majorities.get(name, {}).get(k)) for name in summaries)])
    return terminal_table(ShareTable(["", *summaries], rows))


def parsed_ks(text: str) -> list[int]:
    """Returns the values of k that --k lists.

    Raises:
        ConfigError: for anything but whole numbers and commas.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--k takes whole numbers and commas, such as 1,8,64; got {text!r}") from None


def read_samples(
    paths: Iterable[Path], *, metric: str | None = None, filter_name: str | None = None
) -> dict[str, SamplesFile]:
    """Returns the counts of each argument of the command line, by that argument; see `read_counts`.

    Raises:
        ConfigError: when two arguments are the same file, or as `samples_path` does.
        DataError: as `samples_path` and `read_counts` do.
    """
    from ngrpo.evaluation.counts import read_counts
    from ngrpo.evaluation.problem_values import SamplesFile

    found: dict[Path, str] = {}
    for path in paths:
        file = samples_path(path)
        if file.resolve() in (other.resolve() for other in found):
            raise ConfigError(f"{path} is given twice")
        found[file] = str(path)
    return {
        name: SamplesFile(name, read_counts(file, metric=metric, filter_name=filter_name))
        for file, name in found.items()
    }


def _summary(file: SamplesFile, ks: list[int] | None, ungraded: str) -> Summary:
    from ngrpo.evaluation.summary import summarize

    try:
        return summarize(file.counts, ks, ungraded=ungraded)
    except NgrpoError as error:
        raise type(error)(f"{file.name}: {error}") from None


def _majorities(
    files: Iterable[Path], ks: list[int] | None, *, metric: str | None, filter_name: str | None
) -> Majorities:
    from ngrpo.evaluation.majority import majority_curve, read_votes

    curves = {}
    for path in files:
        votes = read_votes(samples_path(path), metric=metric, filter_name=filter_name)
        try:
            curves[str(path)] = majority_curve(list(votes.values()), ks)
        except NgrpoError as error:
            raise type(error)(f"{path}: {error}") from None
    return curves


def _with_mean(
    files: Mapping[str, SamplesFile], summaries: Mapping[str, Summary], ks: list[int] | None, ungraded: str
) -> dict[str, Summary]:
    """Returns the mean over the seeds with its intervals, then each of the seeds without."""
    from ngrpo.evaluation.summary import summarize_seeds

    mean = summarize_seeds(list(files.values()), ks, ungraded=ungraded)
    each = {name: replace(summary, pass_at_k_intervals={}, auc_interval=None) for name, summary in summaries.items()}
    return {f"mean of {len(each)} seeds": mean, **each}


def _json(summaries: Mapping[str, Summary], seeds: Mapping[str, Summary], votes: Majorities) -> dict[str, Any]:
    objects = {name: summary.to_json() for name, summary in summaries.items()}
    for name, curve in votes.items():
        objects[name]["maj_at_k"] = {str(k): share for k, share in curve.items()}
    if seeds:
        mean = next(iter(seeds.values()))
        return {"seeds": len(objects), **mean.to_json(), "files": objects}
    return next(iter(objects.values())) if len(objects) == 1 else {"files": objects}


def _print(summaries: Mapping[str, Summary], notes: Sequence[str], format_name: str, votes: Majorities) -> None:
    if format_name == "table":
        from rich.console import Console

        Console().print(passk_table(summaries, votes))
        for note in notes:
            typer.echo(note)
        return
    ks, voted = _all_ks(summaries.values()), sorted({k for curve in votes.values() for k in curve})
    rows: list[list[str | Share]] = [
        [
            name,
            *(_at(summary, k) for k in ks),
            Share(summary.auc, summary.auc_interval),
            *(Share(votes.get(name, {}).get(k)) for k in voted),
        ]
        for name, summary in summaries.items()
    ]
    table = ShareTable(["", *(f"Pass@{k}" for k in ks), "AUC", *(f"maj@{k}" for k in voted)], rows)
    typer.echo(noted((latex_table if format_name == "latex" else markdown_table)(table), notes, format_name))


def _at(summary: Summary, k: int) -> Share:
    return Share(summary.pass_at_k.get(k), summary.pass_at_k_intervals.get(k))


def _all_ks(summaries: Iterable[Summary]) -> list[int]:
    return sorted({k for summary in summaries for k in summary.pass_at_k})


def _ungraded_notes(summaries: Mapping[str, Summary]) -> list[str]:
    notes = []
    for name, summary in summaries.items():
        if summary.ungraded and summary.ungraded_as == "wrong":
            notes.append(f"{name}: {summary.ungraded} ungraded samples count as wrong")
        elif summary.ungraded:
            without = (
                f"; problems without any graded one: {summary.ungraded_problems}" if summary.ungraded_problems else ""
            )
            notes.append(f"{name}: {summary.ungraded} ungraded samples are left out{without}")
    return notes


def _cautions(summaries: Mapping[str, Summary], *, several_seeds: bool) -> list[str]:
    """Returns the cautions about what is shown, each once for the files that it holds for."""
    from ngrpo.evaluation.notes import caution_notes

    holding: dict[str, list[str]] = {}
    for name, summary in summaries.items():
        for note in caution_notes(
            problems=summary.problems,
            samples_per_problem=summary.samples_per_problem,
            largest_k=max(summary.pass_at_k, default=1),
            several_seeds=several_seeds,
        ):
            holding.setdefault(note, []).append(name)
    return [note if len(names) == len(summaries) else f"{', '.join(names)}: {note}" for note, names in holding.items()]
