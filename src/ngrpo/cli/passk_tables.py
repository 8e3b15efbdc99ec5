"""What `ngrpo passk` prints: Pass@k and maj@k with intervals, by file and by group of problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import typer

from ngrpo.cli.share_tables import Share, ShareTable, latex_table, markdown_table, noted, terminal_table

if TYPE_CHECKING:
    from rich.table import Table

    from ngrpo.evaluation.samples.facts import FactShares
    from ngrpo.evaluation.statistics.intervals import Interval
    from ngrpo.evaluation.statistics.majority import MajorityCurve
    from ngrpo.evaluation.statistics.summary import Summary

Majorities = Mapping[str, "MajorityCurve"]
"""maj@k by the name of the file."""

Groups = Mapping[str, Mapping[str, "Summary"]]
"""Summaries by the name of the file, then by group of problems."""

FACTS = {"identical": "identical completions", "truncated": "truncated", "no_answer": "without an answer"}


def passk_table(summaries: Mapping[str, Summary], majorities: Majorities = MappingProxyType({})) -> Table:
    """Returns a table with a row per k and a column per summary, in percent with intervals.

    Args:
        summaries: by the name that heads the column.
        majorities: maj@k of some of them.
    """
    columns = summaries.values()
    rows: list[list[str | Share]] = [
        ["problems", *(str(summary.problems) for summary in columns)],
        ["samples per problem", *(_samples(summary) for summary in columns)],
    ]
    if any(summary.clusters for summary in columns):
        rows.insert(1, ["clusters", *(str(summary.clusters) for summary in columns)])
    if any(summary.ungraded for summary in columns):
        rows.append(["ungraded samples", *(str(summary.ungraded) for summary in columns)])
    rows += [[f"Pass@{k}", *(_at(summary, k) for summary in columns)] for k in _all_ks(columns)]
    rows.append(["AUC", *(_area(summary) for summary in columns)])
    rows.append(["AUC over k", *(f"1 to {summary.auc_max_k}" for summary in columns)])
    for k in _voted_ks(majorities):
        rows.append([f"maj@{k}", *(_vote(majorities, name, k) for name in summaries)])
    for key, name in FACTS.items():
        shares = [getattr(summary.facts, key) for summary in columns]
        if any(share is not None for share in shares):
            rows.append([name, *map(Share, shares)])
    return terminal_table(ShareTable(["", *summaries], rows))


def print_tables(
    summaries: Mapping[str, Summary], votes: Majorities, groups: Groups, notes: Sequence[str], format_name: str
) -> None:
    """Prints the summaries, those of groups below them, and the notes."""
    if format_name == "table":
        from rich.console import Console

        Console().print(passk_table(summaries, votes))
        for name, of_file in groups.items():
            Console().print(terminal_table(_rows(of_file, "" if len(groups) == 1 else name, {}), digits=1))
        for note in notes:
            typer.echo(note)
        return
    drawn = latex_table if format_name == "latex" else markdown_table
    tables = [drawn(_rows(summaries, "", votes))]
    tables += [drawn(_rows(of_file, "" if len(groups) == 1 else name, {})) for name, of_file in groups.items()]
    shown = [*_fact_notes(summaries), *notes]
    typer.echo(noted("\n\n".join(tables), shown, format_name))


def majority_json(curve: MajorityCurve) -> dict[str, Any]:
    """Returns the keys of maj@k in the JSON of a file."""
    return {
        "maj_at_k": {str(k): share for k, share in curve.shares.items()},
        "maj_at_k_interval": {str(k): list(curve.intervals[k]) if k in curve.intervals else None for k in curve.shares},
        "maj_at_k_exact": curve.exact,
    }


def _rows(summaries: Mapping[str, Summary], heading: str, votes: Majorities) -> ShareTable:
    """Returns a table with a row per summary."""
    ks, voted = _all_ks(summaries.values()), _voted_ks(votes)
    rows: list[list[str | Share]] = [
        [
            name,
            *(_at(summary, k) for k in ks),
            _area(summary),
            *(_vote(votes, name, k) for k in voted),
        ]
        for name, summary in summaries.items()
    ]
    return ShareTable([heading, *(f"Pass@{k}" for k in ks), "AUC", *(f"maj@{k}" for k in voted)], rows)


def _samples(summary: Summary) -> str:
    fewest = str(summary.samples_per_problem)
    return f"{fewest} to {summary.most_samples}" if summary.uneven else fewest


def _at(summary: Summary, k: int) -> Share:
    return _share(summary, summary.pass_at_k.get(k), summary.pass_at_k_intervals.get(k))


def _area(summary: Summary) -> Share:
    return _share(summary, summary.auc, summary.auc_interval)


def _share(summary: Summary, value: float | None, interval: Interval | None) -> Share:
    return Share(value, interval, no_interval=1 in (summary.counted_problems, summary.clusters))


def _vote(votes: Majorities, name: str, k: int) -> Share:
    if name not in votes:
        return Share(None)
    curve = votes[name]
    return Share(curve.shares.get(k), curve.intervals.get(k), no_interval=not curve.intervals)


def _all_ks(summaries: Iterable[Summary]) -> list[int]:
    return sorted({k for summary in summaries for k in summary.pass_at_k})


def _voted_ks(votes: Majorities) -> list[int]:
    return sorted({k for curve in votes.values() for k in curve.shares})


def fact_text(facts: FactShares) -> str:
    """Returns the shares of completions that are known, empty where none is.

    >>> from ngrpo.evaluation.samples.facts import FactShares
    >>> fact_text(FactShares(identical=0.25, truncated=0.0))
    '25.0 % identical completions, 0.0 % truncated'
    """
    shares = [(text, getattr(facts, key)) for key, text in FACTS.items()]
    return ", ".join(f"{100 * share:.1f} % {text}" for text, share in shares if share is not None)


def _fact_notes(summaries: Mapping[str, Summary]) -> list[str]:
    """Returns what the table of a terminal has as rows."""
    texts = {name: fact_text(summary.facts) for name, summary in summaries.items()}
    return [f"{name}: {text}" for name, text in texts.items() if text]
