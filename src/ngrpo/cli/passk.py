"""`ngrpo passk`: Pass@k, its area and their intervals from samples files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ngrpo.choices import TableStyle, UngradedAs
from ngrpo.cli.passk_notes import cautions, split_notes, uneven_notes, ungraded_notes
from ngrpo.cli.passk_tables import Groups, Majorities, majority_json, print_tables
from ngrpo.cli.passk_tables import passk_table as passk_table
from ngrpo.cli.problem_groups import (
    BY,
    CLUSTER,
    ONLY_COMMON,
    PROBLEMS,
    ColumnSource,
    column_source,
    common,
    named_groups,
    part_of,
)
from ngrpo.errors import ConfigError, NgrpoError

if TYPE_CHECKING:
    from ngrpo.evaluation.samples.entry import Choices
    from ngrpo.evaluation.statistics.matching import SamplesFile
    from ngrpo.evaluation.statistics.summary import Summary


METRIC = typer.Option(
    "--metric", help="What counts as correct: a metric of lm-evaluation-harness or lighteval, a scorer of inspect_ai, "
    "plus or base of evalplus."
)  # fmt: skip
FILTER = typer.Option("--filter", help="Filter to read in an lm-evaluation-harness log.")
ID = typer.Option("--id", metavar="COLUMN", help="Column of the problem id; a dot reaches into objects.")
SAMPLE = typer.Option(
    "--sample", metavar="COLUMN", help="Column of the sample number within a problem.", show_default="order"
)
CORRECT = typer.Option(
    "--correct", metavar="COLUMN", help="Column of verdicts: true or false, a list of them, or a count."
)
UNEVEN = typer.Option("--uneven", help="Allow problems with different numbers of samples.")


def passk(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="Samples of ngrpo, lm-evaluation-harness, inspect_ai, evalplus, HumanEval, LiveCodeBench, lighteval "
            "or verl, or a table (JSON, CSV, TSV, parquet; - for standard input), or the folder of an "
            "evaluation or a run.",
        ),
    ],
    k: Annotated[
        str | None, typer.Option("--k", help="Values of k, such as 1,8,64.", show_default="1, 2, 4, ... n")
    ] = None,
    ungraded: Annotated[
        UngradedAs, typer.Option("--ungraded", help="excluded: leave them out; wrong: count them as wrong.")
    ] = "excluded",
    seeds: Annotated[
        bool, typer.Option("--seeds", help="The files are training seeds of one method: show their mean.")
    ] = False,
    majority: Annotated[
        bool, typer.Option("--majority", help="Add maj@k, the share that a majority vote among k answers solves.")
    ] = False,
    by: Annotated[str | None, BY] = None,
    cluster: Annotated[str | None, CLUSTER] = None,
    problems: Annotated[Path | None, PROBLEMS] = None,
    only_common: Annotated[bool, ONLY_COMMON] = False,
    id_column: Annotated[str | None, ID] = None,
    sample_column: Annotated[str | None, SAMPLE] = None,
    correct_column: Annotated[str | None, CORRECT] = None,
    uneven: Annotated[bool, UNEVEN] = False,
    metric: Annotated[str | None, METRIC] = None,
    filter_name: Annotated[str | None, FILTER] = None,
    format_name: Annotated[TableStyle, typer.Option("--format", help="For a terminal, a page or a paper.")] = "table",
    chart: Annotated[
        Path | None, typer.Option("--chart", help="Draw Pass@k over k: a .png, .svg, .html or .json file.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object, unrounded shares.")] = False,
) -> None:
    """Print Pass@k and its AUC of samples files, in percent, with 95 % intervals."""
    from ngrpo.runs.sample_files import read_samples

    ks = None if k is None else parsed_ks(k)
    if chart is not None:
        from ngrpo.charts.chart_files import check_chart_path

        check_chart_path(chart)
    choices = choices_of(metric, filter_name, id_column, sample_column, correct_column)
    source = column_source(cluster, by, problems, choices)
    read, notes = common(list(read_samples(files, choices).values()), only_common)
    notes = [*reading_notes(read), *notes]
    counting = _Counting(ks, ungraded, uneven, cluster, source)
    summaries = {file.name: counting.summary(file) for file in read}
    votes, voting = _majorities(read if majority else (), counting)
    notes += voting
    shown = {**counting.mean(read, summaries), **_without_intervals(summaries)} if seeds else summaries
    groups = counting.groups(read, by, seeds=seeds)
    notes += [
        *uneven_notes(summaries),
        *ungraded_notes(summaries),
        *cautions(shown, several_seeds=seeds and len(summaries) > 1),
    ]
    if json_output:
        typer.echo(json.dumps({**_json(summaries, shown if seeds else {}, votes, groups), "notes": notes}))
    else:
        print_tables(shown, votes, groups, notes, format_name)
    if chart is not None:
        from ngrpo.charts.chart_files import save_chart
        from ngrpo.charts.pass_at_k_chart import pass_at_k_chart

        # Of several seeds the mean alone has an interval, and is what the chart is about.
        drawn = dict([next(iter(shown.items()))]) if seeds else shown
        save_chart(pass_at_k_chart(drawn), chart, title="Pass@k")
        typer.echo(f"wrote {chart}", err=json_output or format_name != "table")


def parsed_ks(text: str) -> list[int]:
    """Returns the values of k that --k lists.

    Raises:
        ConfigError: for anything but whole numbers and commas.
    """
    return whole_numbers("--k", text, such_as="1,8,64")


def whole_numbers(option: str, text: str, *, such_as: str) -> list[int]:
    """Returns the numbers of an option, such as 1,8,64.

    Raises:
        ConfigError: for anything but whole numbers and commas.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"{option} takes whole numbers and commas, such as {such_as}; got {text!r}") from None


def choices_of(
    metric: str | None, filter_name: str | None, id_column: str | None, sample: str | None, correct: str | None
) -> Choices:
    """Returns what the options --metric, --filter, --id, --sample and --correct name.

    Raises:
        ConfigError: for an empty name.
    """
    from ngrpo.evaluation.samples.entry import Choices

    for option, name in (("--id", id_column), ("--sample", sample), ("--correct", correct)):
        if name is not None and not name.strip():
            raise ConfigError(f"{option} must be the name of a column, got {name!r}")
    return Choices(metric, filter_name, id_column, sample, correct)


def reading_notes(files: Iterable[SamplesFile]) -> list[str]:
    """Returns what was chosen in reading the files: columns, scorers, tests."""
    return [f"{file.name}: {file.counts.reading}" for file in files if file.counts.reading]


class _Counting(NamedTuple):
    """How files are counted: the values of k, what ungraded completions count as, and the clusters."""

    ks: list[int] | None
    ungraded: str
    uneven: bool
    cluster: str | None
    source: ColumnSource

    def summary(self, file: SamplesFile) -> Summary:
        """Returns the summary of a file; an error names it."""
        from ngrpo.evaluation.statistics.summary import summarize

        clusters = self.source.labels(self.cluster, [file])
        try:
            return summarize(file.counts, self.ks, ungraded=self.ungraded, uneven=self.uneven, clusters=clusters)
        except NgrpoError as error:
            raise type(error)(f"{file.name}: {error}") from None

    def mean(self, files: Sequence[SamplesFile], summaries: Mapping[str, Summary]) -> dict[str, Summary]:
        """Returns the mean over the seeds of one method, with its intervals."""
        from ngrpo.evaluation.statistics.summary import summarize_seeds

        clusters = self.source.labels(self.cluster, files)
        mean = summarize_seeds(files, self.ks, ungraded=self.ungraded, uneven=self.uneven, clusters=clusters)
        return {f"mean of {len(summaries)} seeds": mean}

    def groups(self, files: Sequence[SamplesFile], by: str | None, *, seeds: bool) -> dict[str, dict[str, Summary]]:
        """Returns summaries by the value of a column, for each file, or for the mean of seeds."""
        if by is None:
            return {}
        if seeds:
            return {f"mean of {len(files)} seeds": self._by_group(files, by, seeds=True)}
        return {file.name: self._by_group([file], by, seeds=False) for file in files}

    def _by_group(self, files: Sequence[SamplesFile], by: str, *, seeds: bool) -> dict[str, Summary]:
        found = {}
        for name, problem_ids in named_groups(by, self.source.labels(by, files) or {}).items():
            part = part_of(files, problem_ids)
            if any(counted.counts.n.any() or self.ungraded == "wrong" for counted in part):
                (found[name],) = self.mean(part, {}).values() if seeds else [self.summary(part[0])]
        return found


def _majorities(files: Iterable[SamplesFile], counting: _Counting) -> tuple[Majorities, list[str]]:
    """Returns maj@k of each file, and notes on answers that were graded both ways and on values that are not exact."""
    from ngrpo.evaluation.samples.entry import NO_CHOICES
    from ngrpo.evaluation.statistics.majority import majority_curve, read_votes
    from ngrpo.runs.sample_files import samples_path

    curves, notes, source = {}, [], counting.source
    for file in files:
        votes = read_votes(samples_path(Path(file.name)), source.choices or NO_CHOICES)
        kept = {problem_id: votes[problem_id] for problem_id in file.counts.problem_ids}
        clusters = source.labels(counting.cluster, [file])
        names = None if clusters is None else [clusters[problem_id] for problem_id in kept]
        try:
            curve = majority_curve(list(kept.values()), counting.ks, clusters=names)
        except NgrpoError as error:
            raise type(error)(f"{file.name}: {error}") from None
        curves[file.name] = curve
        if not curve.exact:
            notes.append(f"{file.name}: maj@k of some problems is a mean over 10,000 draws, standard error below 0.5")
        notes += split_notes(file.name, kept)
    return curves, notes


def _without_intervals(summaries: Mapping[str, Summary]) -> dict[str, Summary]:
    return {name: replace(summary, pass_at_k_intervals={}, auc_interval=None) for name, summary in summaries.items()}


def _json(
    summaries: Mapping[str, Summary], seeds: Mapping[str, Summary], votes: Majorities, groups: Groups
) -> dict[str, Any]:
    objects = {name: summary.to_json() for name, summary in summaries.items()}
    for name, curve in votes.items():
        objects[name] |= majority_json(curve)
    by_group = {
        name: {"groups": {group: summary.to_json() for group, summary in found.items()}}
        for name, found in groups.items()
    }
    if seeds:
        name, mean = next(iter(seeds.items()))
        return {"seeds": len(objects), **mean.to_json(), **by_group.get(name, {}), "files": objects}
    for name, found in by_group.items():
        objects[name] |= found
    return next(iter(objects.values())) if len(objects) == 1 else {"files": objects}
