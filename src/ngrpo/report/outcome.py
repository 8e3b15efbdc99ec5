"""What came out on a task: Pass@k with simultaneous bands, AUC with intervals, paired differences; all as shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from ngrpo.errors import NgrpoError, short_line
from ngrpo.evaluation.samples.counts import Counts
from ngrpo.evaluation.statistics.bands import simultaneous_band
from ngrpo.evaluation.statistics.comparison import compare
from ngrpo.evaluation.statistics.matching import SamplesFile
from ngrpo.evaluation.statistics.paired_seeds import holm
from ngrpo.evaluation.statistics.problem_values import aligned_values
from ngrpo.evaluation.statistics.summary import summarize
from ngrpo.evaluation.statistics.units import Floats
from ngrpo.report.evaluations_read import with_counts
from ngrpo.report.reported_run import ReportedRun

MOST_PAIRS_OF = 4
"""Up to so many runs every pair is compared; of more, each with the first."""


@dataclass(frozen=True, slots=True)
class Estimated:
    """A value and its interval, None where there is none."""

    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One run, variant or the base (place -1): Pass@k by k, its simultaneous band [ks, 2], the AUC.

    `evaluated` says on what, such as "step 30".
    """

    name: str
    place: int
    evaluated: str
    problems: int
    samples: int
    pass_at_k: dict[int, Estimated]
    band: Floats | None
    auc: Estimated | None
    auc_max_k: int


@dataclass(frozen=True, slots=True, eq=False)
class PairedDifference:
    """A minus B: AUC with interval and p-values, Pass@k by k with its simultaneous band [ks, 2]."""

    a: str
    b: str
    place: int
    auc: Estimated | None
    p_value: float | None
    holm_p: float | None
    pass_at_k: dict[int, float]
    band: Floats | None

    @property
    def name(self) -> str:
        """What is subtracted from what."""
        return f"{self.a} − {self.b}"

    def above(self) -> list[int]:
        """Returns the ks at which the whole band is above 0."""
        return (
            [] if self.band is None else [k for k, (low, _) in zip(self.pass_at_k, self.band, strict=True) if low > 0]
        )

    def below(self) -> list[int]:
        """Returns the ks at which the whole band is below 0."""
        return (
            [] if self.band is None else [k for k, (_, high) in zip(self.pass_at_k, self.band, strict=True) if high < 0]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """All results on one task, the base first where there is one; differences between runs, and of each to the base."""

    task: str
    results: Sequence[Result]
    differences: Sequence[PairedDifference]
    to_base: Sequence[PairedDifference] = ()
    notes: Sequence[str] = ()
    seeds: bool = field(default=False)


def run_outcomes(runs: Sequence[ReportedRun]) -> list[Outcome]:
    """Returns the outcome of every task that some run was evaluated on, in the order of the runs."""
    tasks = dict.fromkeys(task for run in runs for task in run.evaluations)
    outcomes = [_outcome(task, runs) for task in tasks]
    return [outcome for outcome in outcomes if outcome.results]


def _outcome(task: str, runs: Sequence[ReportedRun]) -> Outcome:
    results: list[Result] = []
    files: list[tuple[int, SamplesFile]] = []
    bases: dict[int, SamplesFile] = {}
    notes: list[str] = []
    for place, run in enumerate(runs):
        evaluated = with_counts(run.evaluations.get(task, ()))
        if not evaluated:
            continue
        (first, base), (last, counts) = evaluated[0], evaluated[-1]
        if first == 0:
            bases[place] = SamplesFile(f"{run.name} at step 0", base)
            if not results:
                results.append(_result("base", -1, "step 0", base))
        if last > 0:
            files.append((place, SamplesFile(run.name, counts)))
            results.append(_result(run.name, place, f"step {last}", counts))
    pairs = list(combinations(files, 2)) if len(files) <= MOST_PAIRS_OF else [(one, files[0]) for one in files[1:]]
    found = [_difference(a, b, place, notes) for (place, a), (_, b) in pairs]
    differences = _adjusted([one for one in found if one is not None])
    own = [
        _difference(file, SamplesFile("base", bases[place].counts), place, notes)
        for place, file in files
        if place in bases
    ]
    return Outcome(
        task, results, differences, _adjusted([one for one in own if one is not None]), list(dict.fromkeys(notes))
    )


def _result(name: str, place: int, evaluated: str, counts: Counts) -> Result:
    summary = summarize(counts, uneven=True)
    intervals = summary.pass_at_k_intervals
    pass_at_k = {k: Estimated(value, _ends(intervals.get(k))) for k, value in summary.pass_at_k.items()}
    auc = None if summary.auc is None else Estimated(summary.auc, _ends(summary.auc_interval))
    band = None
    if summary.counted_problems > 1:
        aligned = aligned_values([SamplesFile(name, counts)], None, "excluded", uneven=True)
        band = band_of(aligned.values[:, :, : len(aligned.ks)], 0.0)
    return Result(
        name,
        place,
        evaluated,
        summary.counted_problems,
        summary.samples_per_problem,
        pass_at_k,
        band,
        auc,
        summary.auc_max_k,
    )


def band_of(values: Floats, lowest: float) -> Floats:
    """Returns the simultaneous band [ks, 2] of values [seeds, problems, ks], inside what is possible."""
    found = simultaneous_band(values)
    band: Floats = np.stack([found.low, found.high], axis=1).clip(lowest, 1.0)
    return band


def _difference(a: SamplesFile, b: SamplesFile, place: int, notes: list[str]) -> PairedDifference | None:
    try:
        compared = compare([a], [b], uneven=True)
        aligned = aligned_values([a, b], None, "excluded", uneven=True)
    except NgrpoError as error:
        notes.append(f"{a.name} and {b.name} cannot be compared: {short_line(str(error))}")
        return None
    notes += compared.notes
    band = None
    if aligned.problems > 1:
        band = band_of((aligned.values[:1] - aligned.values[1:])[:, :, : len(aligned.ks)], -1.0)
    auc = compared.auc
    return PairedDifference(
        a.name,
        b.name,
        place,
        None if auc is None else Estimated(auc.difference, _ends(auc.interval)),
        None if auc is None else auc.p_value,
        None,
        {k: difference.difference for k, difference in compared.pass_at_k.items()},
        band,
    )


def _adjusted(differences: Sequence[PairedDifference]) -> list[PairedDifference]:
    """Returns the differences with Holm's adjustment for their number."""
    from dataclasses import replace

    known = [d.p_value for d in differences if d.p_value is not None]
    if len(known) < len(differences) or not known:
        return list(differences)
    return [replace(d, holm_p=float(p)) for d, p in zip(differences, holm(known), strict=True)]


def _ends(interval: Sequence[float] | None) -> tuple[float, float] | None:
    return None if interval is None else (float(interval[0]), float(interval[1]))
