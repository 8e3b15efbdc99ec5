"""What docs/results.md shows of the study on Countdown: its tables, figures and countdown.json, from summaries.

    python scripts/publish_results.py                                  every number and figure again
    python scripts/publish_results.py --collect studies/countdown-a    first takes over the summaries of finished runs
    python scripts/publish_results.py --rates studies/countdown-rates studies/countdown-rates-fresh    the tiers' shares

`table` says which config of configs/study a row belongs to. A config of which a run is missing is left out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results_course import course_of
from results_figures import write_figures
from results_names import OF_THE_LAW
from results_smollm2 import SMOLLM2, smollm2_rows
from results_tables import with_tables
from results_tiers import DOSES, TIERS, keep_rates, overrides_of, starts_of_tiers
from results_unsolved import found_and_lost, keep_base

from ngrpo import __version__
from ngrpo.cli.advantage_rows import advantage_rows, gradient_weights
from ngrpo.methods import METHODS
from ngrpo.storage import write_json
from ngrpo.study.cell_summary import read_summary
from ngrpo.study.study_config import load_study
from ngrpo.study.study_results import results_of
from ngrpo.study.study_runner import StudyFolder, finished_cells

CONFIGS, RESULTS = Path("configs/study"), Path("docs/results")
PAGE, FIGURES = Path("docs/results.md"), Path("docs/results/figures")
TABLES = {
    "methods": "countdown",
    "ladder": "countdown_ladder",
    "laws": "countdown_laws",
    "b": "countdown_b",
    "c": "countdown_c",
    "d": "countdown_d",
    "e": "countdown_e",
    "updates": "countdown_updates",
    "sums-a": "running_sums",
    "sums-b": "running_sums_b",
    "unsolvable": "unsolvable",
}
GROUP_SIZE, PERMUTATIONS = 8, 100_000
PREDICTED = {"auc": 1, "pass@64": 1, "pass@1": -1}
"""Signs of the correlations that the protocol predicts."""


def collected(study: Path) -> None:
    """Copies the summaries of a study's finished runs to docs/results, each in its shortest form."""
    for path in sorted(study.glob("summaries/*/*.json")):
        read_summary(path).write(RESULTS / study.name / path.relative_to(study))


def published() -> dict[str, Any]:
    """Returns the tables of all configs whose runs are finished, and the test of the law."""
    methods: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    unsolved: list[dict[str, Any]] = []
    course: list[dict[str, Any]] = []
    tables: dict[str, tuple[str, list[str]]] = {table: (config, []) for table, config in (TABLES | SMOLLM2).items()}
    tables |= {f"tier-{tier}": ("countdown_tiers", overrides_of(tier)) for tier in TIERS}
    tables |= {f"dose-{tier}": ("countdown_dose", overrides_of(tier)) for tier in DOSES}
    for table, (config, overrides) in tables.items():
        study = load_study(CONFIGS / f"{config}.toml", overrides)
        folder = StudyFolder(RESULTS / study.settings.name)
        finished = finished_cells(study, folder) if folder.path.is_dir() else []
        if len(finished) < len(study.cells):
            continue
        summaries = [read_summary(folder.summary(cell)) for cell in finished]
        rows = (
            smollm2_rows(study.settings, summaries)
            if table in SMOLLM2
            else results_of(study.settings, summaries).to_json()
        )
        if table == "methods":
            unsolved = found_and_lost(summaries)
        if table == "e":
            course = course_of(summaries)
        methods += [{"table": table, **row} for row in rows["methods"]]
        differences += [{"table": table, **row} for row in rows["differences"]]
    origin = {"command": "python scripts/publish_results.py", "version": __version__}
    others = {"unsolved": unsolved, "course": course, "tiers": starts_of_tiers(), "law": law(differences)}
    return {**origin, "methods": methods, "differences": differences, **others}


def law(differences: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns question 3's test: Spearman's correlation of f(0) and each statistic over the methods with finished runs.

    A method's statistics are its differences to GRPO, over the seeds that both have: what seeds have in common is gone.
    """
    last = {row["a"]: row for row in differences if row["table"] in OF_THE_LAW and row["a"] in METHODS}
    weights = {
        name: f[0] for name, f in gradient_weights(advantage_rows(GROUP_SIZE), (0.0,)).items() if f[0] is not None
    }
    rows = {"grpo": {"f0": weights["grpo"], "auc": 0.0, "pass@64": 0.0, "pass@1": 0.0}}
    for name in sorted(last.keys() & weights.keys()):
        row = last[name]
        curve = row["pass_at_k_difference"]
        rows[name] = {"f0": weights[name], "auc": row["auc_difference"], "pass@64": curve["64"], "pass@1": curve["1"]}
    f0 = np.array([row["f0"] for row in rows.values()])
    tests = {}
    for statistic, sign in PREDICTED.items():
        rho, p = spearman(f0, np.array([row[statistic] for row in rows.values()]))
        tests[statistic] = {"predicted_sign": sign, "spearman": rho, "p": p}
    return {"methods": rows, "tests": tests}


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Returns Spearman's correlation and its two-sided p-value over random permutations."""
    a, b = (ranks - ranks.mean() for ranks in (_ranks(x), _ranks(y)))
    size = float(np.sqrt((a @ a) * (b @ b)))
    random = np.random.default_rng(0)
    permuted = np.array([a @ random.permutation(b) for _ in range(PERMUTATIONS)])
    extreme = int((np.abs(permuted) >= abs(a @ b) - 1e-9).sum())
    return float(a @ b) / size, (extreme + 1) / (PERMUTATIONS + 1)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns ranks from 0 on; of values that are equal to nine decimals the mean of theirs."""
    rounded = np.round(values, 9)
    ranks: NDArray[np.float64] = np.array([((rounded < v).sum() + (rounded <= v).sum() - 1) / 2 for v in rounded])
    return ranks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collect", type=Path, action="append", default=[], help="the folder of a study")
    parser.add_argument("--base", type=Path, nargs=2, help="two evaluations of the base model on held-out problems")
    parser.add_argument("--rates", type=Path, nargs=2, help="evaluations of the base model: for the tiers, and fresh")
    parser.add_argument("--out", type=Path, default=RESULTS / "countdown.json")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the tables go")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="folder of the figures")
    given = parser.parse_args()
    for study in given.collect:
        collected(study)
    if given.base:
        keep_base(*given.base)
    if given.rates:
        keep_rates(*given.rates)
    table = published()
    write_json(given.out, table)
    given.page.write_text(with_tables(given.page.read_text("utf-8"), table), "utf-8")
    for path in write_figures(table, given.figures):
        print(f"wrote {path}")
    print(json.dumps(table["law"]["tests"]))


if __name__ == "__main__":
    main()
