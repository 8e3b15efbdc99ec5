"""What is reported of samples files: Pass@k for several k, its area, their intervals, and what was left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ngrpo.choices import UngradedAs
from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.samples.counts import Counts
from ngrpo.evaluation.samples.facts import UNKNOWN, FactShares, fact_shares
from ngrpo.evaluation.samples.problem_labels import Labels
from ngrpo.evaluation.statistics.intervals import Interval, mean_intervals
from ngrpo.evaluation.statistics.matching import SamplesFile
from ngrpo.evaluation.statistics.pass_at_k import auc, pass_at_k_curve, powers_of_two
from ngrpo.evaluation.statistics.problem_values import (
    aligned_values,
    checked_ungraded,
    counted,
    even_samples,
    problem_values,
)
from ngrpo.evaluation.statistics.seed_intervals import seeded_mean_intervals
from ngrpo.evaluation.statistics.units import Floats

LEVEL = 0.95
"""Of every interval that is reported."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Pass@k over the problems of one samples file, as shares between 0 and 1.

    `samples` counts all completions, the ungraded among them; `ungraded_problems` have no graded one. Pass@k is
    computed from the graded completions, over the problems that have any, or, where `ungraded_as` is "wrong", from
    all. `auc` is always that of k = 1, 2, 4, ..., `auc_max_k`, the largest power of two that each of these problems
    has enough completions for; None when that is 1. Intervals are of `level`, over problems or `clusters` of them; a
    single one has none. `facts` are shares of all completions. `most_samples` is the largest number of completions of
    a problem, `samples_per_problem` the smallest.
    """

    problems: int
    samples: int
    samples_per_problem: int
    ungraded: int
    ungraded_problems: int
    pass_at_k: dict[int, float]
    auc: float | None
    auc_max_k: int
    pass_at_k_intervals: dict[int, Interval] = field(default_factory=dict)
    auc_interval: Interval | None = None
    level: float = LEVEL
    ungraded_as: UngradedAs = "excluded"
    clusters: int | None = None
    facts: FactShares = UNKNOWN
    most_samples: int = 0

    @property
    def counted_problems(self) -> int:
        """How many problems Pass@k is the mean over."""
        return self.problems - (self.ungraded_problems if self.ungraded_as == "excluded" else 0)

    @property
    def uneven(self) -> bool:
        """Whether problems differ in their number of completions: `samples_per_problem` is then the fewest."""
        return self.most_samples > self.samples_per_problem

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values, with k as a string key and an interval as a list of its ends or null."""
        return {
            "problems": self.problems,
            "samples": self.samples,
            "samples_per_problem": self.samples_per_problem,
            **({"most_samples_per_problem": self.most_samples} if self.uneven else {}),
            "ungraded": self.ungraded,
            "ungraded_problems": self.ungraded_problems,
            "ungraded_as": self.ungraded_as,
            "pass_at_k": {str(k): share for k, share in self.pass_at_k.items()},
            "pass_at_k_interval": {str(k): _listed(self.pass_at_k_intervals.get(k)) for k in self.pass_at_k},
            "auc": self.auc,
            "auc_interval": _listed(self.auc_interval),
            "auc_max_k": self.auc_max_k,
            "interval_level": self.level,
            "clusters": self.clusters,
            **self.facts._asdict(),
        }


def summarize(
    counts: Counts,
    ks: Iterable[int] | None = None,
    *,
    ungraded: str = "excluded",
    uneven: bool = False,
    clusters: Labels | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Summary:
    """Returns the summary of a samples file, with the intervals of `mean_intervals`.

    Args:
        counts: what `read_counts` returned.
        ks: the values of k to report; by default 1, 2, 4, ... up to the fewest graded completions of any.
        ungraded: "excluded" leaves ungraded completions out, "wrong" counts them as wrong.
        uneven: problems may differ in their number of completions; each has its own unbiased estimate.
        clusters: the cluster of each problem by its id; by default each problem is its own.
        resamples: of the bootstrap behind the intervals.
        seed: of the bootstrap.

    Raises:
        DataError: when problems differ in their number of completions, graded or not, unless `uneven`; when none was
            graded.
        ConfigError: for a k below 1 or above the fewest graded completions of any problem, or another `ungraded`.
    """
    samples_per_problem = even_samples(counts, uneven=uneven)
    totals = counts.n + counts.ungraded
    all_n = counted(counts, ungraded)
    kept = all_n > 0
    if not kept.any():
        raise DataError("Pass@k needs graded completions, got none")
    n, c = all_n[kept], counts.c[kept]
    fewest = int(n.min())
    area_ks = powers_of_two(fewest)
    chosen = area_ks if ks is None else sorted(set(ks))
    if chosen and chosen[-1] > fewest:
        name = counts.problem_ids[int(np.flatnonzero(kept)[np.argmin(n)])]
        raise ConfigError(f"Pass@{chosen[-1]} needs {chosen[-1]} graded samples, but problem {name!r} has {fewest}")
    curve = pass_at_k_curve(n, c, chosen)
    values = problem_values(n, c, chosen, area_ks)
    names = cluster_names(clusters, [counts.problem_ids[at] for at in np.flatnonzero(kept)])
    found = mean_intervals(values, clusters=names, level=LEVEL, resamples=resamples, seed=seed)
    intervals, auc_interval = _split(found, curve, len(set(names or range(len(n)))))
    return Summary(
        problems=len(counts.problem_ids),
        samples=int(totals.sum()),
        samples_per_problem=samples_per_problem,
        most_samples=int(totals.max(initial=0)),
        ungraded=int(counts.ungraded.sum()),
        ungraded_problems=int(np.count_nonzero(counts.n == 0)),
        pass_at_k=curve,
        auc=auc(pass_at_k_curve(n, c, area_ks)),
        auc_max_k=area_ks[-1],
        pass_at_k_intervals=intervals,
        auc_interval=auc_interval,
        ungraded_as=checked_ungraded(ungraded),
        clusters=len(set(names)) if names else None,
        facts=fact_shares([counts.facts]),
    )


def summarize_seeds(
    files: Sequence[SamplesFile],
    ks: Iterable[int] | None = None,
    *,
    ungraded: str = "excluded",
    uneven: bool = False,
    clusters: Labels | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Summary:
    """Returns the summary of a method that was trained with several seeds, a samples file each.

    Pass@k is the mean over seeds and problems, its intervals those of `seeded_mean_intervals`: they hold for other
    problems and for other seeds. Problems without graded completions in any one of the files are left out.
    `samples` and `ungraded` are sums over the files, `samples_per_problem` is the fewest in any, `ungraded_problems`
    counts what was left out.

    Args:
        files: one or more, over the same problems.
        ks: the values of k to report; by default 1, 2, 4, ... up to the fewest graded completions of any problem.
        ungraded: "excluded" leaves ungraded completions out, "wrong" counts them as wrong.
        uneven: problems may differ in their number of completions; each has its own unbiased estimate.
        clusters: the cluster of each problem by its id; by default each problem is its own.
        resamples: of the bootstrap, which only a single file needs.
        seed: of the bootstrap.

    Raises:
        DataError, ConfigError: as `aligned_values` does.
    """
    aligned = aligned_values(files, ks, ungraded, uneven=uneven)
    names = cluster_names(clusters, aligned.problem_ids)
    found = seeded_mean_intervals(aligned.values, clusters=names, level=LEVEL, resamples=resamples, seed=seed)
    intervals, auc_interval = _split(found, aligned.ks, len(set(names or aligned.problem_ids)))
    means = aligned.values.mean(axis=(0, 1))
    totals = [file.counts.n + file.counts.ungraded for file in files]
    per_problem = [even_samples(file.counts, uneven=uneven) for file in files]
    problems = aligned.problems + aligned.left_out
    return Summary(
        problems=problems,
        samples=sum(int(of_file.sum()) for of_file in totals),
        samples_per_problem=min(per_problem),
        most_samples=max(int(of_file.max(initial=0)) for of_file in totals) if uneven else min(per_problem),
        ungraded=sum(int(file.counts.ungraded.sum()) for file in files),
        ungraded_problems=aligned.left_out,
        pass_at_k={k: float(means[i]) for i, k in enumerate(aligned.ks)},
        auc=float(means[-1]) if aligned.has_auc else None,
        auc_max_k=aligned.auc_max_k,
        pass_at_k_intervals=intervals,
        auc_interval=auc_interval,
        ungraded_as=checked_ungraded(ungraded),
        clusters=len(set(names)) if names else None,
        facts=fact_shares(file.counts.facts for file in files),
    )


def cluster_names(clusters: Labels | None, problem_ids: Sequence[str]) -> list[str] | None:
    """Returns the cluster of each problem, None without clusters."""
    return None if clusters is None else [clusters[problem_id] for problem_id in problem_ids]


def _split(found: Floats, ks: Iterable[int], units: int) -> tuple[dict[int, Interval], Interval | None]:
    """Returns the intervals by k, and that of the AUC where there is one; a single unit has none."""
    if units == 1:
        return {}, None
    listed = [Interval(float(low), float(high)) for low, high in found]
    by_k = dict(zip(ks, listed, strict=False))
    return by_k, listed[len(by_k)] if len(listed) > len(by_k) else None


def _listed(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)
