"""`ngrpo compare`: the difference of two methods in Pass@k and AUC, paired by problem."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ngrpo.choices import TableStyle, UngradedAs
from ngrpo.cli.passk import (
    CORRECT,
    FILTER,
    ID,
    METRIC,
    SAMPLE,
    UNEVEN,
    choices_of,
    parsed_ks,
    reading_notes,
)
from ngrpo.cli.passk_tables import fact_text
from ngrpo.cli.problem_groups import BY, CLUSTER, ONLY_COMMON, PROBLEMS, column_source, common, named_groups, part_of
from ngrpo.cli.share_tables import (
    MISSING,
    Share,
    ShareTable,
    latex_table,
    markdown_table,
    noted,
    terminal_table,
)
from ngrpo.cli.terminal import shown
from ngrpo.errors import ConfigError

if TYPE_CHECKING:
    from ngrpo.evaluation.samples.facts import FactShares
    from ngrpo.evaluation.statistics.comparison import Comparison, Difference
    from ngrpo.evaluation.statistics.flips import Flip
    from ngrpo.evaluation.statistics.matching import SamplesFile


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
        UngradedAs, typer.Option("--ungraded", help="excluded: leave them out; wrong: count them as wrong.")
    ] = "excluded",
    listed: Annotated[
        bool, typer.Option("--list", help="Name the problems that only one of A and B solves, or solves mostly.")
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
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object, unrounded shares.")] = False,
) -> None:
    """Print how A differs from B in Pass@k and AUC, with 95 % intervals and p-values, paired by problem."""
    from ngrpo.runs.sample_files import read_samples

    ks = None if k is None else parsed_ks(k)
    paths_a, paths_b = _sides(files, against)
    # A side is read by itself: only within one side is the same file a mistake.
    choices = choices_of(metric, filter_name, id_column, sample_column, correct_column)
    a, b = (list(read_samples(paths, choices).values()) for paths in (paths_a, paths_b))
    source = column_source(cluster, by, problems, choices)
    both, notes = common([*a, *b], only_common)
    notes = [*dict.fromkeys(reading_notes(both)), *notes]
    a, b = both[: len(a)], both[len(a) :]
    comparing = _Comparing(ks, ungraded, uneven, source.labels(cluster, both))
    found = comparing.compare(a, b)
    parts = named_groups(by, source.labels(by, both) or {}) if by else {}
    groups = {name: comparing.compare(part_of(a, part), part_of(b, part)) for name, part in parts.items()}
    flipped = comparing.flips(a, b) if listed else None
    names = [[file.name for file in side] for side in (a, b)]
    if json_output:
        typer.echo(json.dumps(_json(found, names, groups, flipped, notes)))
        return
    _print(found, names, groups, notes, format_name)
    for flip in flipped or ():
        typer.echo(
            f"{flip.kind}: problem {shown(flip.problem_id, 60)}, A {flip.correct_a}/{flip.of_a}, "
            f"B {flip.correct_b}/{flip.of_b}"
        )
    if flipped == []:
        typer.echo("no problem flipped")


class _Comparing(NamedTuple):
    """How files are compared: the values of k, what ungraded completions count as, and the clusters."""

    ks: list[int] | None
    ungraded: str
    uneven: bool
    clusters: dict[str, str] | None

    def compare(self, a: Sequence[SamplesFile], b: Sequence[SamplesFile]) -> Comparison:
        """Returns the comparison of files."""
        from ngrpo.evaluation.statistics import comparison as compare

        return compare.compare(a, b, self.ks, ungraded=self.ungraded, uneven=self.uneven, clusters=self.clusters)

    def flips(self, a: Sequence[SamplesFile], b: Sequence[SamplesFile]) -> list[Flip]:
        """Returns the problems that flipped."""
        from ngrpo.evaluation.statistics.flips import flips

        return flips(a, b, ungraded=self.ungraded)


def _sides(files: Sequence[Path], against: Sequence[Path] | None) -> tuple[Sequence[Path], Sequence[Path]]:
    if against:
        return files, against
    if len(files) != 2:
        raise ConfigError(
            f"compare takes two files, A and B, or files of A and --against for each of B; got {len(files)} and no "
            "--against"
        )
    return files[:1], files[1:]


def _json(
    found: Comparison,
    names: Sequence[Sequence[str]],
    groups: Mapping[str, Comparison],
    flipped: Sequence[Flip] | None,
    notes: Sequence[str],
) -> dict[str, Any]:
    numbers = found.to_json()
    numbers["a"], numbers["b"] = ({"files": list(side), **numbers[key]} for key, side in zip("ab", names, strict=True))
    numbers["notes"] = [*notes, *numbers["notes"]]
    if groups:
        numbers["groups"] = {name: part.to_json() for name, part in groups.items()}
    if flipped is not None:
        numbers["flips"] = [flip.to_json() for flip in flipped]
    return numbers


def _print(
    found: Comparison,
    names: Sequence[Sequence[str]],
    groups: Mapping[str, Comparison],
    notes: Sequence[str],
    format_name: str,
) -> None:
    tables = [_table(found, names, "")]
    tables += [_table(part, names, f"{name}, {part.problems} problems") for name, part in groups.items()]
    over = f", intervals over {found.clusters} clusters" if found.clusters else ""
    shown_notes = [
        f"{found.problems} problems, paired{over}; percent, differences in points",
        *(_facts(side, facts) for side, facts in zip("AB", (found.facts_a, found.facts_b), strict=True)),
        *notes,
        *found.notes,
    ]
    if groups:
        shown_notes.append(f"{len(groups)} groups: each interval is by itself, not adjusted for their number")
    shown_notes = [note for note in shown_notes if note]
    if format_name != "table":
        drawn = latex_table if format_name == "latex" else markdown_table
        typer.echo(noted("\n\n".join(map(drawn, tables)), shown_notes, format_name))
        return
    from rich.console import Console

    for table in tables:
        Console().print(terminal_table(table))
    for note in shown_notes:
        typer.echo(note)


def _table(found: Comparison, names: Sequence[Sequence[str]], corner: str) -> ShareTable:
    headings = [corner, _heading("A", names[0]), _heading("B", names[1]), "A - B [95 % interval]"]
    with_p = len(names[0]) == len(names[1]) == 1
    rows = [_row(f"Pass@{k}", difference, with_p) for k, difference in found.pass_at_k.items()]
    if found.auc is not None:
        rows.append(_row(f"AUC over k = 1 to {found.auc_max_k}", found.auc, with_p))
    return ShareTable([*headings, "p"] if with_p else headings, rows)


def _facts(side: str, facts: FactShares) -> str:
    listed = fact_text(facts)
    return f"{side}: {listed}" if listed else ""


def _heading(side: str, names: Sequence[str]) -> str:
    return f"{side}: {names[0]}" if len(names) == 1 else f"{side}: mean of {len(names)} seeds"


def _row(name: str, found: Difference, with_p: bool) -> list[str | Share]:
    row: list[str | Share] = [
        name,
        Share(found.a),
        Share(found.b),
        Share(found.difference, found.interval, signed=True, no_interval=found.interval is None),
    ]
    return [*row, _p_value(found.p_value)] if with_p else row


def _p_value(p: float | None) -> str:
    if p is None:
        return MISSING
    return "<0.001" if p < 0.001 else f"{p:.3f}"
