"""The outcome of a study: curves and bands from its summaries, intervals and differences as results.json has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ngrpo.errors import NgrpoError, error_line
from ngrpo.evaluation.statistics.pass_at_k import auc
from ngrpo.report.evaluations_read import interval_of
from ngrpo.report.outcome import Estimated, Outcome, PairedDifference, Result, band_of
from ngrpo.report.rollout_scan import number
from ngrpo.report.visible_text import visible_line
from ngrpo.study.cell_summary import CellSummary, values_of


def study_outcome(
    cells: Mapping[str, Sequence[CellSummary]], results: Mapping[str, Any], name: str, last: int, missing: list[str]
) -> Outcome | None:
    """Returns the outcome, None where no variant was evaluated.

    Args:
        cells: the summaries of each variant.
        results: results.json, empty where it is missing: there are then no intervals and differences.
        name: of the study.
        last: each seed's value is the mean over so many of its last evaluations.
        missing: gets a line for each variant that cannot be summed up.
    """
    found: list[Result] = []
    by_name = {str(one.get("method")): one for one in results.get("methods", ()) if isinstance(one, dict)}
    for place, (variant, of) in enumerate(cells.items()):
        try:
            found.append(_result(variant, place, of, by_name.get(variant, {}), last))
        except (NgrpoError, ValueError, IndexError) as error:
            missing.append(f"{variant}: {error_line(error)}")
    if not found:
        return None
    places = {variant: place for place, variant in enumerate(cells)}
    listed = [one for one in results.get("differences", ()) if isinstance(one, dict)]
    differences = [_difference(one, places.get(str(one.get("a")), 0)) for one in listed]
    stopped = [
        f"{variant}: {count} of {len(of)} runs ended early"
        for variant, of in cells.items()
        if (count := sum(bool(c.stopped) for c in of))
    ]
    return Outcome(visible_line(name, 60), found, differences, notes=stopped, seeds=True)


def _result(variant: str, place: int, cells: Sequence[CellSummary], told: Mapping[str, Any], last: int) -> Result:
    """Returns a variant's result: the curve from the summaries, intervals as results.json has them."""
    ks, tables = [1], []
    for cell in cells:
        if not cell.evaluations:
            raise ValueError(f"seed {cell.seed} has no evaluation")
        ks, values = values_of(cell.evaluations[-last:])
        tables.append(values)
    values = np.stack(tables)
    band = band_of(values, 0.0) if values.shape[1] > 1 else None
    means = dict(zip(ks, values.mean(axis=(0, 1)).tolist(), strict=True))
    intervals = told.get("pass_at_k_ci95", {})
    area = auc(means)
    evaluations = cells[0].evaluations[-last:]
    steps = "step" if len(evaluations) == 1 else "steps"
    return Result(
        visible_line(variant, 60),
        place,
        f"{steps} {', '.join(str(e.step) for e in evaluations)}; {len(cells)} seeds",
        values.shape[1],
        min(min(evaluation.n) for evaluation in evaluations),
        {k: Estimated(value, interval_of(intervals.get(str(k)))) for k, value in means.items()},
        band,
        None if area is None else Estimated(area, interval_of(told.get("auc_ci95"))),
        ks[-1],
    )


def _difference(told: Mapping[str, Any], place: int) -> PairedDifference:
    """Returns a difference as results.json has it."""
    curve = {int(k): float(value) for k, value in told.get("pass_at_k_difference", {}).items()}
    band = told.get("band95", {})
    ends = [interval_of(band.get(str(k))) for k in curve]
    return PairedDifference(
        visible_line(told.get("a"), 60),
        visible_line(told.get("b"), 60),
        place,
        Estimated(float(told.get("auc_difference", 0.0)), interval_of(told.get("ci95"))),
        number(told.get("p")),
        number(told.get("holm_p")),
        curve,
        np.array(ends) if all(end is not None for end in ends) and ends else None,
    )
