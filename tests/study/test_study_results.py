"""Results from summaries alone: means, paired differences, Holm, and files that read back the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ngrpo.errors import DataError
from ngrpo.evaluation.statistics.pass_at_k import auc, pass_at_k_curve
from ngrpo.runs.run_dir import RunDir
from ngrpo.study.cell_summary import CellSummary, EvaluationCounts, read_summary, summary_of
from ngrpo.study.study_config import StudySettings
from ngrpo.study.study_results import results_of, scored_evaluations


def cell(variant: str, seed: int, rate: float, evaluations: int = 2, n: int = 16) -> CellSummary:
    """A run on 40 problems, the same for all; `rate` multiplies their solve rates."""
    problems = np.random.default_rng(0).beta(1, 3, 40)
    rng = np.random.default_rng([seed, len(variant)])
    ids, total = tuple(f"p{i}" for i in range(40)), (n,) * 40
    found = tuple(
        EvaluationCounts(step, "t", ids, total, tuple(rng.binomial(n, np.clip(problems * rate, 0, 1)).tolist()))
        for step in range(evaluations)
    )
    return CellSummary(variant, seed, 3, 96, 6, "", 1.5, found, {"group/all_wrong": (0.5, 0.25, 0.0)})


VARIANTS = {"base": 1.0, "better": 2.5, "same": 1.0}
SETTINGS = StudySettings.parse(
    {"compare_to": "base", "last_evaluations": 1, "primary": "pass@1", "vary": {name: {} for name in VARIANTS}}
)
CELLS = [cell(variant, seed, rate) for variant, rate in VARIANTS.items() for seed in range(4)]


def test_means_are_those_of_the_last_evaluations() -> None:
    results = results_of(SETTINGS, CELLS)
    assert [result.variant for result in results.variants] == list(VARIANTS)
    curves = [pass_at_k_curve(16, summary.evaluations[-1].c) for summary in CELLS[:4]]
    first = results.variants[0]
    for i, k in enumerate(first.ks):
        assert first.means[i] == pytest.approx(np.mean([curve[k] for curve in curves]))
    assert first.means[-1] == pytest.approx(np.mean([auc(curve) or 0.0 for curve in curves]))
    assert first.metrics == {"group/all_wrong": 0.25}


def counts(step: int, correct: int) -> EvaluationCounts:
    return EvaluationCounts(step, "t", ("a", "b"), (4, 4), (correct, correct))


@pytest.mark.parametrize(
    ("steps", "stopped_at", "scored"),
    [
        ([(50, 3), (80, 1)], 80, [3, 1, 1]),  # ended between two evaluations
        ([(50, 3), (100, 1)], 100, [3, 1, 1]),  # with one of them
        ([(20, 1)], 20, [1, 1, 1]),
        ([(50, 3)], 80, [3, 0, 0]),  # could not be evaluated any more
        ([], 12, [0, 0, 0]),
        ([(50, 3), (100, 2), (140, 1)], 140, [3, 2, 1]),
    ],
)
def test_a_run_that_ended_early_stays_as_it_ended(
    steps: list[tuple[int, int]], stopped_at: int, scored: list[int]
) -> None:
    whole = [counts(step, 4) for step in (0, 50, 100, 150)]
    found = [counts(0, 2), *(counts(step, correct) for step, correct in steps)]  # the one at the start never counts
    run = CellSummary("base", 0, 150, 96, 6, "", 1.5, tuple(whole), {})
    ended = replace(run, seed=1, steps=stopped_at, stopped="tripwires", evaluations=tuple(found))
    kept = scored_evaluations(ended, run.trained_evaluations)
    assert [evaluation.c[0] for evaluation in kept] == scored
    settings = StudySettings.parse({"compare_to": "base", "last_evaluations": 3, "vary": {"base": {}}})
    (result,) = results_of(settings, [run, ended]).variants
    assert result.values[:, 0, 0].tolist() == pytest.approx([1.0, sum(scored) / 12])
    assert result.stopped == 1


def test_a_variant_whose_runs_all_ended_early_is_scored_beside_the_others() -> None:
    run = CellSummary("base", 0, 150, 96, 6, "", 1.5, tuple(counts(step, 4) for step in (50, 100, 150)), {})
    ended = replace(run, variant="worse", steps=12, stopped="diverged", evaluations=())
    settings = StudySettings.parse({"compare_to": "base", "last_evaluations": 3, "vary": {"base": {}, "worse": {}}})
    assert results_of(settings, [run, ended]).variants[1].means.tolist() == [0.0] * 4
    with pytest.raises(DataError, match="the run has no evaluation"):
        results_of(settings, [ended])


def test_a_better_method_is_found_and_an_equal_one_is_not() -> None:
    better, same = results_of(SETTINGS, CELLS).differences
    assert (better.variant, same.variant) == ("better", "same")
    assert better.holm_p < 0.01 < same.holm_p
    assert better.holm_p >= better.p_value
    assert better.band.above[0]
    assert not same.band.above.any()


def test_only_common_seeds_are_compared_and_unfinished_variants_left_out() -> None:
    kept = [c for c in CELLS if c.variant != "same" and (c.variant, c.seed) != ("better", 2)]
    results = results_of(SETTINGS, kept)
    (only,) = results.differences
    assert (only.variant, only.seeds) == ("better", 3)
    assert results.to_json()["methods"][1]["seeds"] == [0, 1, 3]


def test_a_summary_reads_back_as_it_was(tmp_path: Path) -> None:
    first = CELLS[0].evaluations[0]
    others = (
        replace(first, step=9, problem_ids=("10", "a", *first.problem_ids[2:]), n=(7, *first.n[1:])),
        replace(first, problem_ids=("10",), n=(4,), c=(4,)),
        replace(first, problem_ids=(), n=(), c=()),
    )
    for at, summary in enumerate(
        (CELLS[0], replace(CELLS[0], evaluations=(first, *others)), replace(CELLS[0], evaluations=others))
    ):
        summary.write(tmp_path / "a" / f"{at}.json")
        assert read_summary(tmp_path / "a" / f"{at}.json") == summary
    assert (tmp_path / "a" / "0.json").stat().st_size < 600
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(DataError, match="not the summary of a study's run"):
        read_summary(tmp_path / "bad.json")


def test_what_cannot_be_compared_is_one_line() -> None:
    with pytest.raises(DataError, match="differ in problems or in completions"):
        results_of(SETTINGS, [*CELLS[:4], *(cell("better", seed, 1.0, n=8) for seed in range(4))])
    with pytest.raises(DataError, match="base, seed 0: the run has no evaluation"):
        results_of(SETTINGS, [cell("base", 0, 1.0, evaluations=0)])
    far = SETTINGS.model_copy(update={"primary": "pass@64"})
    with pytest.raises(DataError, match="primary is pass@64; the evaluations have k = 1, 2, 4, 8, 16"):
        results_of(far, CELLS)


def test_a_metric_that_some_steps_lack_is_the_mean_of_the_others(tmp_path: Path) -> None:
    """A step without a trained row has no `policy/` metrics, and a NaN is null in metrics.jsonl and in a summary."""
    run = RunDir.create(tmp_path / "run", {"run": {"name": "a"}}, seed=0)
    gaps: list[Any] = [0.5, None, 0.25, "missing", None, None]
    for step, gap in enumerate(gaps, start=1):
        run.append_metrics({"step": step, "reward/mean": 0.5} | ({} if gap == "missing" else {"policy/gap": gap}))
    summary = summary_of(run, "base", 0, stopped="", seconds=1.0)
    assert summary.metrics["reward/mean"] == (0.5, 0.5, 0.5)
    assert summary.metrics["policy/gap"] == pytest.approx((0.5, 0.25, np.nan), nan_ok=True)
    summary.write(tmp_path / "0.json")
    read = read_summary(tmp_path / "0.json")
    assert read.metrics["policy/gap"] == pytest.approx((0.5, 0.25, np.nan), nan_ok=True)
    result = results_of(SETTINGS, [replace(read, evaluations=CELLS[0].evaluations)]).variants[0]
    assert result.metrics == pytest.approx({"reward/mean": 0.5, "policy/gap": 0.375})
