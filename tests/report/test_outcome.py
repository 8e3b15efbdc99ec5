"""What came out is what the statistics say: intervals as `ngrpo compare`, bands around every curve, Holm over pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ngrpo.evaluation.samples.counts import read_counts
from ngrpo.evaluation.statistics.comparison import compare
from ngrpo.evaluation.statistics.matching import SamplesFile
from ngrpo.report.figures_outcome import outcome_tables
from ngrpo.report.outcome import Outcome, run_outcomes
from ngrpo.report.reported_run import read_run


@pytest.fixture(scope="module")
def outcome(two_runs: list[Path]) -> Outcome:
    (found,) = run_outcomes([read_run(path, path.name) for path in two_runs])
    return found


def test_results_are_the_last_evaluations_and_the_base(outcome: Outcome):
    assert [(result.name, result.place, result.evaluated) for result in outcome.results] == [
        ("base", -1, "step 0"),
        ("ngrpo", 0, "step 3"),
        ("grpo", 1, "step 3"),
    ]
    for result in outcome.results:
        assert result.band is not None
        assert list(result.pass_at_k) == [1, 2, 4, 8]
        values = np.array([one.value for one in result.pass_at_k.values()])
        assert ((result.band[:, 0] <= values) & (values <= result.band[:, 1])).all()
        assert result.band.min() >= 0
        assert result.band.max() <= 1


def test_differences_are_those_of_compare(outcome: Outcome, two_runs: list[Path]):
    files = [SamplesFile(path.name, read_counts(path / "eval/000003/countdown/samples.jsonl")) for path in two_runs]
    expected = compare(files[:1], files[1:])
    (found,) = outcome.differences
    assert (found.name, found.p_value) == ("ngrpo − grpo", expected.auc.p_value)
    assert found.auc.value == expected.auc.difference
    assert found.auc.interval == tuple(expected.auc.interval)
    assert found.pass_at_k == {k: one.difference for k, one in expected.pass_at_k.items()}
    assert [one.name for one in outcome.to_base] == ["ngrpo − base", "grpo − base"]
    assert all(one.holm_p >= one.p_value for one in outcome.to_base)


def test_tables_show_them(outcome: Outcome):
    results, differences = outcome_tables(outcome)
    assert [row[0].text for row in results.rows] == ["base", "ngrpo", "grpo"]
    ngrpo = outcome.results[1]
    assert results.rows[1][2].text == f"{100 * ngrpo.auc.value:.1f}"
    assert results.headings == ["", "evaluated at", "AUC, %", "Pass@1, %", "Pass@8, %"]
    assert [row[0].text for row in differences.rows] == ["ngrpo − grpo", "ngrpo − base", "grpo − base"]
    assert any("One training seed" in note for note in differences.notes)


def test_runs_on_other_problems_are_not_compared_and_it_is_said(two_runs: list[Path], tmp_path: Path):
    import shutil

    other = tmp_path / "other"
    shutil.copytree(two_runs[1], other, ignore=shutil.ignore_patterns("checkpoints"))
    samples = other / "eval/000003/countdown/samples.jsonl"
    samples.write_text(samples.read_text().replace("countdown-test-1", "elsewhere-1"))
    (found,) = run_outcomes([read_run(two_runs[0], "a"), read_run(other, "b")])
    assert found.differences == []
    assert any("a and b cannot be compared" in note for note in found.notes)
