"""Notes below the tables of `ngrpo passk`: what was left out, and how far the numbers can be relied on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ngrpo.evaluation.statistics.majority import Votes
    from ngrpo.evaluation.statistics.summary import Summary


def split_notes(name: str, votes: Mapping[str, Votes]) -> list[str]:
    """Returns a note on answers that were marked both correct and wrong."""
    from ngrpo.evaluation.samples.facts import shortened
    from ngrpo.evaluation.statistics.majority import split_verdicts

    splits = list(split_verdicts(votes))
    if not splits:
        return []
    first = splits[0]
    more = f" and {len(splits) - 1} more answers" if len(splits) > 1 else ""
    return [
        f"{name}: answer {shortened(first.answer, 40)} of problem {first.problem_id!r} was marked correct "
        f"{first.correct} times and wrong {first.wrong} times{more}: such votes are split"
    ]


def uneven_notes(summaries: Mapping[str, Summary]) -> list[str]:
    """Returns a note per file whose problems have different numbers of samples."""
    return [
        f"{name}: {summary.samples_per_problem} to {summary.most_samples} samples per problem, so k is at most "
        f"{summary.samples_per_problem}; each problem has the unbiased estimate of its own number"
        for name, summary in summaries.items()
        if summary.uneven
    ]


def ungraded_notes(summaries: Mapping[str, Summary]) -> list[str]:
    """Returns a note per file with ungraded samples."""
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


def cautions(summaries: Mapping[str, Summary], *, several_seeds: bool) -> list[str]:
    """Returns the cautions about what is shown, each once for the files that it holds for."""
    from ngrpo.evaluation.statistics.cautions import caution_notes

    holding: dict[str, list[str]] = {}
    for name, summary in summaries.items():
        for note in caution_notes(
            problems=summary.counted_problems,
            samples_per_problem=summary.samples_per_problem,
            largest_k=max(summary.pass_at_k, default=1),
            several_seeds=several_seeds,
            clusters=summary.clusters,
            identical=summary.facts.identical,
        ):
            holding.setdefault(note, []).append(name)
    return [note if len(names) == len(summaries) else f"{', '.join(names)}: {note}" for note, names in holding.items()]
