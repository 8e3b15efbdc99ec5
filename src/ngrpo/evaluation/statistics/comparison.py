"""Two methods on the same problems: the difference of Pass@k and AUC, paired by problem, with interval and p-value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ngrpo.choices import UngradedAs
from ngrpo.errors import ConfigError
from ngrpo.evaluation.samples.facts import UNKNOWN, FactShares, fact_shares
from ngrpo.evaluation.samples.problem_labels import Labels
from ngrpo.evaluation.statistics.cautions import caution_notes
from ngrpo.evaluation.statistics.intervals import Interval
from ngrpo.evaluation.statistics.matching import SamplesFile
from ngrpo.evaluation.statistics.problem_values import aligned_values, checked_ungraded, even_samples
from ngrpo.evaluation.statistics.seed_intervals import seeded_difference_intervals
from ngrpo.evaluation.statistics.sign_flip_test import sign_flip_p_value
from ngrpo.evaluation.statistics.summary import LEVEL, cluster_names
from ngrpo.evaluation.statistics.units import Floats, cluster_means


@dataclass(frozen=True, slots=True)
class Difference:
    """One statistic of A and of B as shares; A - B with its interval, none for one problem; p for one seed each."""

    a: float
    b: float
    difference: float
    interval: Interval | None
    p_value: float | None

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {
            "a": self.a,
            "b": self.b,
            "difference": self.difference,
            "interval": None if self.interval is None else list(self.interval),
            "p_value": self.p_value,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """A - B by statistic. `problems` were compared, `left_out` ones have no graded completion in some file.

    `samples_a` and `samples_b` are the completions per problem of each file, `ungraded_a` and `ungraded_b` how many of
    all were not graded. `facts_a` and `facts_b` are shares of completions. `clusters` is how many the intervals
    are over, None where they are over problems. `notes` are lines for the reader.
    """

    problems: int
    left_out: int
    samples_a: tuple[int, ...]
    samples_b: tuple[int, ...]
    ungraded_a: int
    ungraded_b: int
    pass_at_k: dict[int, Difference]
    auc: Difference | None
    auc_max_k: int
    ungraded_as: UngradedAs
    notes: tuple[str, ...]
    level: float = LEVEL
    clusters: int | None = None
    facts_a: FactShares = UNKNOWN
    facts_b: FactShares = UNKNOWN

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values, with k as a string key."""
        return {
            "problems": self.problems,
            "left_out": self.left_out,
            "clusters": self.clusters,
            "a": {"samples_per_problem": list(self.samples_a), "ungraded": self.ungraded_a, **self.facts_a._asdict()},
            "b": {"samples_per_problem": list(self.samples_b), "ungraded": self.ungraded_b, **self.facts_b._asdict()},
            "ungraded_as": self.ungraded_as,
            "pass_at_k": {str(k): difference.to_json() for k, difference in self.pass_at_k.items()},
            "auc": None if self.auc is None else self.auc.to_json(),
            "auc_max_k": self.auc_max_k,
            "interval_level": self.level,
            "notes": list(self.notes),
        }


def compare(
    a: Sequence[SamplesFile],
    b: Sequence[SamplesFile],
    ks: Iterable[int] | None = None,
    *,
    ungraded: str = "excluded",
    uneven: bool = False,
    clusters: Labels | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Returns the differences of two methods, each with a samples file per training seed.

    With one file each the interval is that of `difference_intervals` and the p-value that of `sign_flip_p_value`; with
    more, the interval is that of `seeded_difference_intervals`, and there is no p-value: flipping the signs of problems
    would ignore the seeds.

    Args:
        a: files of one method, one or more.
        b: files of the other, over the same problems.
        ks: the values of k; by default 1, 2, 4, ... up to the fewest graded completions of any problem in any file.
        ungraded: "excluded" leaves ungraded completions out, "wrong" counts them as wrong.
        uneven: problems may differ in their number of completions; each has its own unbiased estimate.
        clusters: the cluster of each problem by its id: intervals are over clusters, and their signs are flipped.
        resamples: of the sign-flip test, where it is not exact.
        seed: of the sign-flip test.

    Raises:
        DataError, ConfigError: as `aligned_values` does; ConfigError where A or B has no file.

    Examples:
        >>> import numpy as np
        >>> from ngrpo.evaluation.samples.counts import Counts
        >>> counts = [Counts(("p", "q"), np.array([2, 2]), np.array(c), np.array([0, 0])) for c in ([1, 2], [0, 2])]
        >>> found = compare([SamplesFile("A", counts[0])], [SamplesFile("B", counts[1])])
        >>> found.pass_at_k[1].difference, found.pass_at_k[1].p_value
        (0.25, 1.0)
    """
    if not a or not b:
        raise ConfigError("a comparison needs a samples file of A and one of B")
    files = [*a, *b]
    aligned = aligned_values(files, ks, ungraded, uneven=uneven)
    names = cluster_names(clusters, aligned.problem_ids)
    found = _differences(aligned.values, len(a), names, resamples, seed)
    samples = [even_samples(file.counts, uneven=uneven) for file in files]
    facts_a, facts_b = (fact_shares([file.counts.facts for file in side]) for side in (a, b))
    cautions = caution_notes(
        problems=aligned.problems,
        samples_per_problem=min(samples),
        largest_k=max(aligned.ks, default=1),
        several_seeds=len(a) > 1 and len(b) > 1,
        clusters=len(set(names)) if names else None,
        identical=max((facts.identical for facts in (facts_a, facts_b) if facts.identical is not None), default=None),
    )
    return Comparison(
        problems=aligned.problems,
        left_out=aligned.left_out,
        samples_a=tuple(samples[: len(a)]),
        samples_b=tuple(samples[len(a) :]),
        ungraded_a=_ungraded(a),
        ungraded_b=_ungraded(b),
        pass_at_k=dict(zip(aligned.ks, found, strict=False)),
        auc=found[-1] if aligned.has_auc else None,
        auc_max_k=aligned.auc_max_k,
        ungraded_as=checked_ungraded(ungraded),
        notes=(
            *_left_out_notes(aligned.left_out, files, ungraded),
            *_sample_notes(samples, aligned.auc_max_k, ks is None),
            *_uneven_notes(files),
            *_seed_notes(len(a), len(b)),
            *cautions,
        ),
        clusters=len(set(names)) if names else None,
        facts_a=facts_a,
        facts_b=facts_b,
    )


def _differences(
    values: Floats, files_a: int, clusters: Sequence[str] | None, resamples: int, seed: int
) -> list[Difference]:
    """Returns the difference in each statistic, from values [files, problems, statistics] of which A's come first."""
    a, b = values[:files_a], values[files_a:]
    intervals = seeded_difference_intervals(a, b, clusters=clusters, level=LEVEL)
    one_seed = len(a) == len(b) == 1
    by_problem = a.mean(axis=0) - b.mean(axis=0)
    means, sizes = cluster_means(by_problem, clusters)
    found = []
    for statistic, (low, high) in enumerate(intervals):
        difference = by_problem[:, statistic]
        sums = means[:, statistic] * sizes
        found.append(
            Difference(
                a=float(a[:, :, statistic].mean()),
                b=float(b[:, :, statistic].mean()),
                difference=float(difference.mean()),
                interval=Interval(float(low), float(high)) if len(sizes) > 1 else None,
                p_value=sign_flip_p_value(sums, resamples=resamples, seed=seed) if one_seed else None,
            )
        )
    return found


def _ungraded(files: Sequence[SamplesFile]) -> int:
    return sum(int(file.counts.ungraded.sum()) for file in files)


def _left_out_notes(left_out: int, files: Sequence[SamplesFile], ungraded: str) -> list[str]:
    notes = []
    if count := _ungraded(files):
        notes.append(f"{count} ungraded samples {'count as wrong' if ungraded == 'wrong' else 'are left out'}")
    if left_out:
        notes.append(f"problems without graded samples in some file, left out of all: {left_out}")
    return notes


def _sample_notes(samples: Sequence[int], largest: int, by_default: bool) -> list[str]:
    if len(set(samples)) == 1:
        return []
    listed = " and ".join(map(str, sorted(set(samples))))
    scope = f"up to k = {largest}, which all of them reach" if by_default else f"AUC up to k = {largest}"
    return [f"the files have {listed} samples per problem: compared {scope}"]


def _uneven_notes(files: Sequence[SamplesFile]) -> list[str]:
    notes = []
    for name, counts in files:
        totals = counts.n + counts.ungraded
        if (fewest := int(totals.min())) < (most := int(totals.max())):
            notes.append(f"{name}: {fewest} to {most} samples per problem")
    return notes


def _seed_notes(seeds_a: int, seeds_b: int) -> list[str]:
    if seeds_a == seeds_b == 1:
        return []
    note = f"A has {seeds_a} training seeds, B {seeds_b}: intervals are over seeds and problems, without a p-value"
    if 1 in (seeds_a, seeds_b):
        single, other = ("A", "B") if seeds_a == 1 else ("B", "A")
        note += f"; {single} is assumed to vary between seeds as {other} does"
    return [note]
