"""The folder of a study -> `Page`, from its summaries and results.json; the run folders are not needed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ngrpo.errors import ConfigError, NgrpoError, error_line
from ngrpo.evaluation.samples.counts import Counts
from ngrpo.evaluation.statistics.pass_at_k import auc
from ngrpo.report.config_tables import flat
from ngrpo.report.figure import Cell, Figure, Panel, Section, Table, percent, run_legend
from ngrpo.report.figures_difficulty import Learner
from ngrpo.report.outcome import Outcome
from ngrpo.report.page_parts import Page, RunFindings
from ngrpo.report.report_builder import difficulty_parts, made_by, outcome_parts
from ngrpo.report.report_charts import Axes, Series, line_spec
from ngrpo.report.report_words import summary_of_outcomes
from ngrpo.report.rollout_scan import number
from ngrpo.report.study_outcome import study_outcome
from ngrpo.report.visible_text import visible_line
from ngrpo.storage import read_json_object
from ngrpo.study.cell_summary import CellSummary, EvaluationCounts, read_summary, values_of

THIRDS = (
    "group/all_wrong",
    "group/mixed",
    "reward/mean",
    "policy/entropy",
    "policy/approx_kl",
    "clip/low_fraction",
    "advantage/nonzero",
)


def is_study(path: Path) -> bool:
    """Returns whether a folder is that of a study."""
    return (path / "study.json").is_file() or (path / "results.json").is_file() or (path / "summaries").is_dir()


def study_page(path: Path) -> Page:
    """Returns the page of a study.

    Raises:
        ConfigError: when no run of it is finished.
    """
    missing: list[str] = []
    cells = _cells(path, missing)
    if not cells:
        raise ConfigError(f"{path}: no run of this study is finished yet")
    results = _object(path / "results.json", missing, "no differences: ngrpo study CONFIG --recompute writes them")
    study = _object(path / "study.json", missing, "no settings of the study")
    names = [visible_line(name, 60) for name in cells]
    outcome = study_outcome(cells, results, path.name, _last(study), missing)
    learners = [Learner(name, place, [_counts(cell) for cell in of]) for place, (name, of) in enumerate(cells.items())]
    progress = _auc_over_steps(cells)
    parts: list[Figure | Table] = outcome_parts(outcome, names) if outcome is not None else []
    if progress is not None:
        parts.append(progress)
    none = Figure("pass-at-k", "What came out?", missing="No run of this study has an evaluation.")
    return Page(
        title=f"study {visible_line(path.resolve().name, 80)}",
        summary=_summary(cells, outcome),
        sections=[
            Section("runs", "Variants", [_cell_table(cells)]),
            Section("outcome", "What came out", parts or [none]),
            Section("steps", "Along the runs", [_thirds_table(cells)]),
            Section("difficulty", "Learning by difficulty", difficulty_parts(learners, "the held-out problems")),
            Section("findings", "What is missing"),
            Section("config", "Configuration", _settings_tables(study)),
        ],
        legend=run_legend(names),
        findings=[RunFindings("the study", (), missing)],
        command=f"ngrpo report {path}",
        made=made_by(),
    )


def _cells(path: Path, missing: list[str]) -> dict[str, list[CellSummary]]:
    cells: dict[str, list[CellSummary]] = {}
    for file in sorted(path.glob("summaries/*/*.json")):
        try:
            summary = read_summary(file)
        except NgrpoError as error:
            missing.append(error_line(error))
            continue
        cells.setdefault(summary.variant, []).append(summary)
    order = _order(path)
    return {
        name: sorted(cells[name], key=lambda cell: cell.seed)
        for name in sorted(cells, key=lambda name: order.get(name, 99))
    }


def _order(path: Path) -> dict[str, int]:
    """Returns the place of each variant in the study's config."""
    try:
        vary = read_json_object(path / "study.json")["settings"]["vary"]
        return {name: place for place, name in enumerate(vary)}
    except (NgrpoError, KeyError, TypeError):
        return {}


def _object(path: Path, missing: list[str], what: str) -> Mapping[str, Any]:
    try:
        return read_json_object(path)
    except NgrpoError as error:
        missing.append(f"{what} ({error_line(error)})")
        return {}


def _last(study: Mapping[str, Any]) -> int:
    settings = study.get("settings")
    value = number(settings.get("last_evaluations")) if isinstance(settings, dict) else None
    return max(1, int(value or 1))


def _summary(cells: Mapping[str, Sequence[CellSummary]], outcome: Outcome | None) -> list[str]:
    runs = sum(len(of) for of in cells.values())
    seeds = {len(of) for of in cells.values()}
    each = f"{min(seeds)} seeds" if len(seeds) == 1 else f"{min(seeds)} to {max(seeds)} seeds"
    wrong = [
        f"{name} {percent(share)}"
        for name, of in cells.items()
        if (share := _mean_of(of, "group/all_wrong")) is not None
    ]
    dead = [
        f"{name} {percent(1 - share)}"
        for name, of in cells.items()
        if (share := _mean_of(of, "advantage/nonzero")) is not None
    ]
    paragraphs = [
        f"{runs} finished runs: {len(cells)} variants ({', '.join(list(cells)[:8])}) with {each} each.",
        f"All-wrong groups: {'; '.join(wrong)}. Completions without any gradient: {'; '.join(dead)}."
        if wrong and dead
        else "",
    ]
    if outcome is not None:
        paragraphs += summary_of_outcomes([outcome])
    return [visible_line(text, 2000) for text in paragraphs if text]


def _mean_of(cells: Sequence[CellSummary], key: str) -> float | None:
    values = [float(np.mean(cell.metrics[key])) for cell in cells if cell.metrics.get(key)]
    return float(np.mean(values)) if values else None


def _cell_table(cells: Mapping[str, Sequence[CellSummary]]) -> Table:
    rows = [
        [
            Cell(visible_line(name, 60), number=False),
            Cell(str(len(of))),
            Cell(f"{np.mean([cell.steps for cell in of]):,.0f}"),
            Cell(f"{np.mean([cell.rollouts for cell in of]):,.0f}"),
            Cell(f"{np.mean([cell.updates for cell in of]):,.0f}"),
            Cell(str(sum(bool(cell.stopped) for cell in of))),
        ]
        for name, of in cells.items()
    ]
    return Table(
        "", ["variant", "seeds", "steps", "completions", "updates", "ended early"], rows, ["Means over the seeds."]
    )


def _thirds_table(cells: Mapping[str, Sequence[CellSummary]]) -> Table:
    rows = []
    for key in THIRDS:
        row = [Cell(key, number=False)]
        for of in cells.values():
            thirds = [cell.metrics[key] for cell in of if len(cell.metrics.get(key, ())) == 3]
            row.append(Cell(" → ".join(f"{value:.3g}" for value in np.mean(thirds, axis=0)) if thirds else "—"))
        rows.append(row)
    headings = ["metric", *(visible_line(name, 60) for name in cells)]
    return Table(
        "Metrics: means over the first, second and last third of the steps", headings, rows, ["Means over the seeds."]
    )


def _auc_over_steps(cells: Mapping[str, Sequence[CellSummary]]) -> Figure | None:
    series = []
    for place, (name, of) in enumerate(cells.items()):
        by_step: dict[int, list[float]] = {}
        for cell in of:
            for evaluation in cell.evaluations:
                ks, values = values_of([evaluation])
                area = auc(dict(zip(ks, values.mean(axis=0).tolist(), strict=True)))
                if area is not None:
                    by_step.setdefault(evaluation.step, []).append(100 * area)
        points = [(float(step), float(np.mean(areas))) for step, areas in sorted(by_step.items())]
        ends = [(min(areas), max(areas)) for _, areas in sorted(by_step.items())]
        series.append(Series(visible_line(name, 60), place, points, ends if len(cells) <= 5 else ()))
    series = [line for line in series if line.points]
    if not any(len(line.points) > 1 for line in series):
        return None
    return Figure(
        "auc-steps",
        "Does the AUC rise during training?",
        "",
        [Panel("", line_spec(series, Axes("step", "AUC, percent", band="seeds", from_zero=False), height=220))],
        run_legend([line.name for line in series]),
        "Mean over the seeds; shaded from the lowest to the highest seed."
        if len(cells) <= 5
        else "Mean over the seeds.",
        columns=1,
    )


def _settings_tables(study: Mapping[str, Any]) -> list[Table]:
    settings = study.get("settings")
    if not isinstance(settings, dict):
        return []
    rows = [
        [Cell(key, number=False), Cell(value, number=False)] for key, value in flat(json.loads(json.dumps(settings)))
    ]
    return [Table("Settings of the study", ["setting", "value"], rows, folded=True)]


def _counts(cell: CellSummary) -> list[tuple[int, Counts]]:
    return [(evaluation.step, _of(evaluation)) for evaluation in cell.evaluations]


def _of(evaluation: EvaluationCounts) -> Counts:
    n, c = np.array(evaluation.n, dtype=np.int64), np.array(evaluation.c, dtype=np.int64)
    return Counts(tuple(evaluation.problem_ids), n, c, np.zeros_like(n))
