"""Figures and tables of what came out: Pass@k, AUC, differences, the AUC over the run."""

from __future__ import annotations

from collections.abc import Sequence

from ngrpo.report.figure import Cell, Figure, Panel, Table, interval_text, percent, points, run_legend
from ngrpo.report.outcome import Estimated, Outcome, PairedDifference, Result
from ngrpo.report.report_charts import Axes, Estimate, Series, interval_spec, line_spec
from ngrpo.report.reported_run import ReportedRun

_MOST_BANDS = 5
"""Of more lines the bands cover each other and are left out; the table has the intervals."""


def pass_at_k_figure(outcome: Outcome, names: Sequence[str]) -> Figure:
    """Returns the curves of all results, with bands that hold for all k together."""
    with_bands = len(outcome.results) <= _MOST_BANDS
    series = [_curve(result, with_bands) for result in outcome.results]
    axes = Axes("k, completions per problem", "Pass@k, percent of problems", log2_x=True)
    base = any(result.place < 0 for result in outcome.results)
    over = "seeds and problems" if outcome.seeds else "problems"
    bands = (
        f"Bands: 95 %, over {over}, for all k together (simultaneous)."
        if with_bands
        else "Bands are left out, for there are too many lines; the table has the intervals."
    )
    return Figure(
        f"pass-at-k-{outcome.task}",
        "How often does one of k completions solve a problem?",
        _pass_at_k_finding(outcome),
        [Panel("", line_spec(series, axes, height=300))],
        run_legend(names, base=base),
        f"Pass@k is the unbiased estimate, from {_sampled(outcome.results)} held-out problems. {bands}",
        columns=1,
    )


def difference_figure(outcome: Outcome) -> Figure | None:
    """Returns the paired differences of Pass@k with their bands, None without a pair."""
    drawn = [difference for difference in outcome.differences if difference.pass_at_k]
    if not drawn:
        return None
    panels = []
    for difference in drawn[:6]:
        series = Series(
            difference.name,
            difference.place,
            [(k, 100 * value) for k, value in difference.pass_at_k.items()],
            [] if difference.band is None else [(100 * low, 100 * high) for low, high in difference.band.tolist()],
        )
        axes = Axes(
            "k, completions per problem", "difference in Pass@k, percentage points", log2_x=True, y_format="+.1f"
        )
        panels.append(Panel(difference.name, line_spec([series], axes, height=180)))
    return Figure(
        f"pass-at-k-difference-{outcome.task}",
        "At which k do the runs differ?",
        " ".join(_where(difference) for difference in drawn[:6]),
        panels,
        note="Paired by problem. Where the whole band is on one side of 0, the runs differ at that k, with 95 % for "
        "all k together.",
        columns=1 if len(panels) == 1 else 2,
    )


def outcome_tables(outcome: Outcome) -> list[Table]:
    """Returns the table of AUC and Pass@k, and that of paired differences."""
    ks = _shown_ks(outcome.results)
    headings = ["", "evaluated at", "AUC, %", *(f"Pass@{k}, %" for k in ks)]
    rows = [
        [
            Cell(result.name, number=False),
            Cell(result.evaluated, number=False),
            _estimated(result.auc),
            *(_estimated(result.pass_at_k.get(k)) for k in ks),
        ]
        for result in outcome.results
    ]
    most = max((result.auc_max_k for result in outcome.results), default=1)
    over = "seeds and problems" if outcome.seeds else "problems; other training seeds would differ too"
    note = (
        f"AUC: area under Pass@k over log2 k from 1 to {most}, divided by its width. In brackets: 95 % intervals over "
        f"{over}."
    )
    tables = [Table(f"AUC and Pass@k on {outcome.task}", headings, rows, [note])]
    listed = [*outcome.differences, *outcome.to_base]
    if listed:
        tables.append(_difference_table(outcome, listed))
    return tables


def auc_figure(runs: Sequence[ReportedRun], task: str) -> Figure | None:
    """Returns the AUC at every evaluation with pointwise intervals, None where no run has two."""
    series = []
    for place, run in enumerate(runs):
        known = [one for one in run.evaluations.get(task, ()) if one.auc is not None]
        line = [(float(one.step), 100 * (one.auc or 0.0)) for one in known]
        ends = [one.auc_interval for one in known if one.auc_interval is not None]
        band = (
            [(100 * low, 100 * high) for low, high in ends]
            if len(ends) == len(line) and len(runs) < _MOST_BANDS
            else []
        )
        series.append(Series(run.name, place, line, band))
    series = [line for line in series if line.points]
    if not any(len(line.points) > 1 for line in series):
        return None
    told = [
        f"{line.name} from {line.points[0][1]:.1f} to {line.points[-1][1]:.1f} %"
        for line in series
        if len(line.points) > 1
    ]
    return Figure(
        f"auc-{task}",
        "Does the AUC rise during training?",
        f"{'; '.join(told[:6])}.",
        [Panel("", line_spec(series, Axes("step", "AUC, percent", from_zero=False), height=220))],
        run_legend([run.name for run in runs]),
        "Bands: 95 % at each step by itself, over problems. The best of several evaluations looks better than it is.",
        columns=1,
    )


def interval_figure(outcome: Outcome) -> Figure | None:
    """Returns the AUC of all results as points with intervals, from four on."""
    known = [result for result in outcome.results if result.auc is not None and result.auc.interval is not None]
    if len(known) < 4:
        return None
    estimates = [_estimate(result.name, result.auc) for result in known]
    spec = interval_spec(estimates, [result.place for result in known], Axes("AUC, percent", ""))
    return Figure(
        f"auc-intervals-{outcome.task}",
        "Which AUC has which interval?",
        "",
        [Panel("", spec)],
        note="95 % intervals, each by itself. Whether two differ is in the paired differences, whose intervals are "
        "narrower.",
        columns=1,
    )


def _curve(result: Result, with_band: bool) -> Series:
    band = (
        [] if result.band is None or not with_band else [(100 * low, 100 * high) for low, high in result.band.tolist()]
    )
    return Series(result.name, result.place, [(k, 100 * e.value) for k, e in result.pass_at_k.items()], band)


def _pass_at_k_finding(outcome: Outcome) -> str:
    ks = _shown_ks(outcome.results)
    ends = sorted({ks[0], ks[-1]})
    parts = []
    for result in outcome.results[:5]:
        shown = [f"{percent(result.pass_at_k[k].value)} at k = {k}" for k in ends if k in result.pass_at_k]
        parts.append(f"{result.name}: {' and '.join(shown)}")
    return f"{'; '.join(parts)}." if parts else ""


def _where(difference: PairedDifference) -> str:
    above, below = difference.above(), difference.below()
    if not above and not below:
        return f"{difference.name}: within chance at every k."
    parts = [f"{word} 0 at k = {', '.join(map(str, ks))}" for word, ks in (("above", above), ("below", below)) if ks]
    return f"{difference.name}: {' and '.join(parts)}."


def _difference_table(outcome: Outcome, listed: Sequence[PairedDifference]) -> Table:
    ks = [k for k in _shown_ks(outcome.results) if any(k in difference.pass_at_k for difference in listed)]
    rows = [
        [
            Cell(difference.name, number=False),
            _estimated(difference.auc, signed=True),
            Cell(_p(difference.p_value)),
            Cell(_p(difference.holm_p)),
            *(_band_cell(difference, k) for k in ks),
        ]
        for difference in listed
    ]
    headings = ["", "AUC, points", "p", "p, Holm", *(f"Pass@{k}, points" for k in ks)]
    notes = [
        "Paired by problem, in percentage points. AUC: 95 % interval and p-value"
        + (" over paired seeds and problems" if outcome.seeds else " of a sign-flip test over problems")
        + "; Holm adjusts for the number of rows of a kind. Pass@k: 95 % band for all k together.",
        *map(_sentence, outcome.notes),
    ]
    return Table(f"Paired differences on {outcome.task}", headings, rows, notes)


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:].removesuffix('.')}."


def _band_cell(difference: PairedDifference, k: int) -> Cell:
    if k not in difference.pass_at_k:
        return Cell("—")
    small = ""
    if difference.band is not None:
        low, high = difference.band[list(difference.pass_at_k).index(k)].tolist()
        small = interval_text(low, high, signed=True)
    return Cell(points(difference.pass_at_k[k]), small)


def _estimated(estimated: Estimated | None, *, signed: bool = False) -> Cell:
    if estimated is None:
        return Cell("—")
    text = points(estimated.value) if signed else f"{100 * estimated.value:.1f}"
    return Cell(text, "" if estimated.interval is None else interval_text(*estimated.interval, signed=signed))


def _estimate(name: str, estimated: Estimated | None) -> Estimate:
    value = estimated or Estimated(0.0)
    low, high = value.interval or (value.value, value.value)
    return Estimate(name, 100 * value.value, 100 * low, 100 * high)


def _p(p: float | None) -> str:
    if p is None:
        return "—"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _shown_ks(results: Sequence[Result]) -> list[int]:
    """Returns 1, 8 and the largest k of those that any result has."""
    ks = sorted({k for result in results for k in result.pass_at_k})
    return [k for k in ks if k in {1, 8, ks[-1]}]


def _sampled(results: Sequence[Result]) -> str:
    samples, problems = ({getattr(result, name) for result in results} for name in ("samples", "problems"))
    return f"{_range(samples)} completions of each of {_range(problems)}"


def _range(numbers: set[int]) -> str:
    low, high = min(numbers, default=0), max(numbers, default=0)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
