"""The results of a study, from the summaries of its cells alone: one table and one JSON object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ngrpo.errors import DataError
from ngrpo.evaluation.statistics.bands import Band, simultaneous_band
from ngrpo.evaluation.statistics.paired_seeds import holm, paired_differences
from ngrpo.evaluation.statistics.pass_at_k import auc
from ngrpo.evaluation.statistics.seed_intervals import seeded_mean_intervals
from ngrpo.evaluation.statistics.units import Floats
from ngrpo.study.cell_summary import CellSummary, EvaluationCounts, mean_of, values_of
from ngrpo.study.study_config import StudySettings


@dataclass(frozen=True, slots=True, eq=False)
class VariantResult:
    """One variant: means over seeds and problems of Pass@k at each k and of the AUC, with intervals.

    `values` are [seeds, problems, ks + AUC]; `stopped` counts runs that ended early.
    """

    variant: str
    seeds: tuple[int, ...]
    ks: tuple[int, ...]
    values: Floats
    intervals: Floats
    rollouts: float
    updates: float
    stopped: int
    metrics: Mapping[str, float]

    @property
    def means(self) -> Floats:
        """Pass@k at each k, and the AUC last."""
        means: Floats = self.values.mean(axis=(0, 1))
        return means


@dataclass(frozen=True, slots=True, eq=False)
class VariantDifference:
    """A variant minus the one that all are compared with, over their common seeds; `holm_p` is of the primary."""

    variant: str
    seeds: int
    differences: Floats
    intervals: Floats
    band: Band
    p_value: float
    holm_p: float


@dataclass(frozen=True, slots=True, eq=False)
class StudyResults:
    """All variants in the config's order, and the differences of all but the baseline to it."""

    settings: StudySettings
    variants: tuple[VariantResult, ...]
    differences: tuple[VariantDifference, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values; shares, not percent."""
        return {
            "study": self.settings.name,
            "compare_to": self.settings.compare_to,
            "primary": self.settings.primary,
            "methods": [_variant_json(result, self.settings.name) for result in self.variants],
            "differences": [_difference_json(d, self) for d in self.differences],
        }


def results_of(settings: StudySettings, summaries: Sequence[CellSummary]) -> StudyResults:
    """Returns the results of the variants that have a finished cell.

    Every variant's AUC is over the same k, up to the fewest completions of any. Holm's adjustment is for the number of
    variants that are compared.

    Raises:
        DataError: when summaries have no evaluation, or differ in problems.
    """
    by_variant: dict[str, list[CellSummary]] = {}
    for summary in sorted(summaries, key=lambda summary: summary.seed):
        by_variant.setdefault(summary.variant, []).append(summary)
    names = [name for name in settings.vary if name in by_variant]
    variants = tuple(_variant(name, by_variant[name], settings.last_evaluations, summaries) for name in names)
    if len({(result.values.shape[1], result.ks) for result in variants}) > 1:
        raise DataError("the variants differ in problems or in completions per problem: Pass@k cannot be compared")
    return StudyResults(settings, variants, _differences(settings, variants))


def statistic_index(settings: StudySettings, ks: Sequence[int]) -> int:
    """Returns where the primary statistic is among Pass@k at each k and the AUC.

    Raises:
        DataError: for a Pass@k that the evaluations do not reach.
    """
    if settings.primary == "auc":
        return len(ks)
    k = int(settings.primary.removeprefix("pass@"))
    if k not in ks:
        raise DataError(f"primary is {settings.primary}; the evaluations have k = {', '.join(map(str, ks))}")
    return list(ks).index(k)


def scored_evaluations(summary: CellSummary, whole: Sequence[EvaluationCounts]) -> tuple[EvaluationCounts, ...]:
    """Returns the evaluations of a run after its first step, as many as those of a whole run.

    A run that was ended early stays as it ended: its last evaluation stands for those that are missing. One that could
    not be evaluated where it ended, for its logits were not finite, solves nothing from there on.

    Args:
        summary: the run's.
        whole: what a run that went on to its end has.
    """
    found = summary.trained_evaluations
    if not summary.stopped or not whole:
        return found
    if not found or found[-1].step != summary.steps:
        found = (*found, replace(whole[-1], step=summary.steps, c=(0,) * len(whole[-1].c)))
    regular = found[:-1]
    return (*regular, *[found[-1]] * max(1, len(whole) - len(regular)))


def _whole(summaries: Sequence[CellSummary]) -> tuple[EvaluationCounts, ...]:
    """Returns the evaluations of a run that went on to its end; of any where none did."""
    runs = [summary for summary in summaries if not summary.stopped] or summaries
    return max((summary.trained_evaluations for summary in runs), key=len, default=())


def _variant(name: str, summaries: Sequence[CellSummary], last: int, of_all: Sequence[CellSummary]) -> VariantResult:
    tables, ks = [], [0]
    whole = _whole([summary for summary in summaries if not summary.stopped] or of_all)
    for summary in summaries:
        evaluations = scored_evaluations(summary, whole)
        if not evaluations:
            raise DataError(f"{name}, seed {summary.seed}: the run has no evaluation ([evaluation] every)")
        ks, values = values_of(evaluations[-last:])
        areas = [auc(dict(zip(ks, row, strict=True))) or 0.0 for row in values.tolist()]
        tables.append(np.column_stack([values, areas]))
    if len({table.shape for table in tables}) > 1:
        raise DataError(f"{name}: its seeds differ in problems or in completions per problem")
    stacked = np.stack(tables)
    metrics: dict[str, list[float]] = {}
    for summary in summaries:
        for metric, thirds in summary.metrics.items():
            metrics.setdefault(metric, []).append(mean_of(thirds))
    return VariantResult(
        variant=name,
        seeds=tuple(summary.seed for summary in summaries),
        ks=tuple(ks),
        values=stacked,
        intervals=seeded_mean_intervals(stacked.clip(0.0, 1.0)),
        rollouts=float(np.mean([summary.rollouts for summary in summaries])),
        updates=float(np.mean([summary.updates for summary in summaries])),
        stopped=sum(bool(summary.stopped) for summary in summaries),
        metrics={metric: mean_of(values) for metric, values in metrics.items()},
    )


def _differences(settings: StudySettings, variants: Sequence[VariantResult]) -> tuple[VariantDifference, ...]:
    baseline = next((result for result in variants if result.variant == settings.compare_to), None)
    if baseline is None:
        return ()
    at, found = statistic_index(settings, baseline.ks), []
    for result in variants:
        common = sorted(set(result.seeds) & set(baseline.seeds))
        if result is baseline or not common:
            continue
        a, b = (r.values[[r.seeds.index(seed) for seed in common]] for r in (result, baseline))
        paired = paired_differences(a, b)
        band = simultaneous_band((a - b)[:, :, : len(baseline.ks)])
        found.append((result.variant, len(common), paired, band))
    adjusted = holm([paired.p_value[at] for _, _, paired, _ in found])
    return tuple(
        VariantDifference(name, seeds, p.difference, p.interval, band, float(p.p_value[at]), float(holm_p))
        for (name, seeds, p, band), holm_p in zip(found, adjusted, strict=True)
    )


def _variant_json(result: VariantResult, regime: str) -> dict[str, Any]:
    means = result.means
    return {
        "method": result.variant,
        "regime": regime,
        "seeds": list(result.seeds),
        "auc": float(means[-1]),
        "auc_ci95": result.intervals[-1].tolist(),
        "pass_at_k": {str(k): float(mean) for k, mean in zip(result.ks, means, strict=False)},
        "pass_at_k_ci95": {str(k): ends.tolist() for k, ends in zip(result.ks, result.intervals, strict=False)},
        "rollouts": result.rollouts,
        "updates": result.updates,
        "stopped": result.stopped,
        "metrics": dict(result.metrics),
    }


def _difference_json(difference: VariantDifference, results: StudyResults) -> dict[str, Any]:
    ks = results.variants[0].ks
    band = difference.band
    return {
        "a": difference.variant,
        "b": results.settings.compare_to,
        "regime": results.settings.name,
        "seeds": difference.seeds,
        "auc_difference": float(difference.differences[-1]),
        "ci95": difference.intervals[-1].tolist(),
        "p": difference.p_value,
        "holm_p": difference.holm_p,
        "pass_at_k_difference": {str(k): float(d) for k, d in zip(ks, difference.differences, strict=False)},
        "pass_at_k_ci95": {str(k): ends.tolist() for k, ends in zip(ks, difference.intervals, strict=False)},
        "band95": {str(k): [float(low), float(high)] for k, low, high in zip(ks, band.low, band.high, strict=True)},
        "beats_at_k": [k for k, above in zip(ks, band.above, strict=True) if above],
        "loses_at_k": [k for k, below in zip(ks, band.below, strict=True) if below],
    }
