"""The studies of SmolLM2 on docs/results.md: with Pass@1 seed by seed, and the model before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from results_cells import ends, p_value
from results_names import name_of

from ngrpo.study.cell_summary import CellSummary
from ngrpo.study.study_config import StudySettings
from ngrpo.study.study_results import results_of

SMOLLM2 = {"smollm2-40": "smollm2_40", "smollm2-85": "smollm2_85", "smollm2-dose": "smollm2_dose"}
"""By table: the config."""
BEFORE = "before"


def smollm2_rows(settings: StudySettings, summaries: Sequence[CellSummary]) -> dict[str, list[dict[str, Any]]]:
    """Returns the results of a study, its methods after the model before training, each with Pass@1 by seed."""
    # The first evaluation of each run of the baseline, as if it were the last.
    starts = [
        replace(summary, variant=BEFORE, stopped="", evaluations=(replace(summary.evaluations[0], step=1),))
        for summary in summaries
        if summary.variant == settings.compare_to
    ]
    varied = settings.model_copy(update={"vary": {BEFORE: {}, **settings.vary}})
    results = results_of(varied, [*starts, *summaries])
    rows = results.to_json()
    # The model before training is no method: Holm's adjustment is for those that are compared.
    differences = results_of(settings, summaries).to_json()["differences"]
    by_seed = [result.values[:, :, 0].mean(axis=1).tolist() for result in results.variants]
    methods = [{**row, "pass@1_by_seed": seeds} for row, seeds in zip(rows["methods"], by_seed, strict=True)]
    return {"methods": methods, "differences": differences}


def smollm2_table(table: Mapping[str, Any], name: str) -> list[str]:
    """Returns the lines of one study's two tables, or nothing before its runs are finished."""
    methods, differences = ([row for row in table[key] if row["table"] == name] for key in ("methods", "differences"))
    if not methods:
        return []
    lines = ["| | Pass@1 | Pass@1 by seed | Pass@8 | AUC | ended early |", "|---|---|---|---|---|---|"]
    for row in methods:
        shares = [_percent(row["pass_at_k"][k], row["pass_at_k_ci95"][k]) for k in ("1", "8")]
        seeds = " / ".join(f"{100 * share:.1f}" for share in row["pass@1_by_seed"])
        area = _percent(row["auc"], row["auc_ci95"])
        lines.append(f"| {name_of(row['method'])} | {shares[0]} | {seeds} | {shares[1]} | {area} | {row['stopped']} |")
    lines += ["", "| minus GRPO | Pass@1 | AUC | p of Pass@1, Holm |", "|---|---|---|---|"]
    for row in differences:
        first = _percent(row["pass_at_k_difference"]["1"], row["pass_at_k_ci95"]["1"], "+.1f")
        area = _percent(row["auc_difference"], row["ci95"], "+.1f")
        lines.append(f"| {name_of(row['a'])} | {first} | {area} | {p_value(row['holm_p'])} |")
    return lines


def _percent(share: float, interval: Sequence[float], form: str = ".1f") -> str:
    return f"{format(100 * share, form)} {ends(interval, form)}"
