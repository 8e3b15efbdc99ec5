"""Summaries: what the reference printed, and honest numbers where samples are ungraded or missing."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.samples.counts import Counts, read_counts
from ngrpo.evaluation.statistics.intervals import mean_intervals
from ngrpo.evaluation.statistics.matching import SamplesFile
from ngrpo.evaluation.statistics.pass_at_k import pass_at_k
from ngrpo.evaluation.statistics.seed_intervals import seeded_mean_intervals
from ngrpo.evaluation.statistics.summary import Summary, summarize, summarize_seeds
from tests.shared import SHARED

DATA = Path(__file__).parents[2] / "data" / "conformance"


def counts(n: list[int], c: list[int], ungraded: list[int] | None = None) -> Counts:
    left_out = np.zeros(len(n), np.int64) if ungraded is None else np.array(ungraded)
    return Counts(tuple(f"p{i}" for i in range(len(n))), np.array(n, int), np.array(c, int), left_out)


def assert_is_what_the_reference_printed(summary: Summary, text: str) -> None:
    score = re.search(r"final score is: ([\d.]+)", text)
    assert score is not None
    row = [float(number) for number in text.strip().splitlines()[-1].split("&") if number.strip()]
    assert summary.auc is not None
    assert round(100 * summary.auc, 2) == float(score[1])
    assert [round(100 * share, 2) for share in summary.pass_at_k.values()] == row


def test_counts_give_what_the_reference_printed() -> None:
    summary = summarize(read_counts(DATA / "samples_counts.csv"))
    assert_is_what_the_reference_printed(summary, (DATA / "samples.expected.txt").read_text())


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no shared folder at {SHARED}; set NGRPO_SHARED")
def test_the_reference_file_gives_what_the_reference_printed() -> None:
    folder = SHARED / "conformance"
    summary = summarize(read_counts(folder / "samples.jsonl"))
    assert_is_what_the_reference_printed(summary, (folder / "samples.expected.txt").read_text())
    assert (summary.problems, summary.samples, summary.samples_per_problem) == (20, 1280, 64)


def test_json_has_the_promised_keys() -> None:
    summary = summarize(counts([4, 4], [0, 4]))
    assert json.loads(json.dumps(summary.to_json())) == {
        "problems": 2,
        "samples": 8,
        "samples_per_problem": 4,
        "ungraded": 0,
        "ungraded_problems": 0,
        "ungraded_as": "excluded",
        "pass_at_k": {"1": 0.5, "2": 0.5, "4": 0.5},
        "pass_at_k_interval": dict.fromkeys("124", pytest.approx([1 - 0.975**0.5, 0.975**0.5])),
        "auc": 0.5,
        "auc_interval": pytest.approx([1 - 0.975**0.5, 0.975**0.5]),
        "auc_max_k": 4,
        "interval_level": 0.95,
        "clusters": None,
        "identical": None,
        "truncated": None,
        "no_answer": None,
    }


def test_a_single_problem_or_cluster_has_no_interval() -> None:
    alone = summarize(counts([4], [2])).to_json()
    assert alone["pass_at_k_interval"] == dict.fromkeys("124")
    assert (alone["auc_interval"], alone["pass_at_k"]["1"]) == (None, 0.5)
    given = counts([4, 4, 4], [0, 1, 4])
    assert summarize(given, clusters=dict.fromkeys(given.problem_ids, "x")).auc_interval is None
    over = summarize(given, clusters={"p0": "x", "p1": "x", "p2": "y"})
    assert over.clusters == 2
    expected = mean_intervals([[0.0], [0.25], [1.0]], clusters=["x", "x", "y"])[0]
    assert over.pass_at_k_intervals[1] == pytest.approx(tuple(expected))
    seeds = [SamplesFile("a", given), SamplesFile("b", counts([4, 4, 4], [1, 1, 3]))]
    assert summarize_seeds(seeds, clusters=dict.fromkeys(given.problem_ids, "x")).pass_at_k_intervals == {}
    assert json.dumps(summarize(counts([128, 128], [128, 40]), [64]).to_json(), allow_nan=False)


def test_nothing_known_of_intervals_is_json_too() -> None:
    bare = Summary(2, 8, 4, 8, 2, {}, None, 0).to_json()
    assert (bare["pass_at_k_interval"], bare["auc_interval"], bare["ungraded_as"]) == ({}, None, "excluded")


def test_intervals_are_those_of_the_values_of_each_problem() -> None:
    c = [0, 1, 2, 8, 3, 0, 5]
    summary = summarize(counts([8] * 7, c), [1, 3], resamples=500, seed=2)
    curves = np.stack([pass_at_k(8, c, k) for k in (1, 2, 4, 8)], axis=1)
    areas = (curves[:, 0] / 2 + curves[:, 1] + curves[:, 2] + curves[:, 3] / 2) / 3
    values = np.stack([curves[:, 0], pass_at_k(8, c, 3), areas], axis=1)
    expected = mean_intervals(values, resamples=500, seed=2)
    found = [*summary.pass_at_k_intervals.values(), summary.auc_interval]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert list(summary.pass_at_k_intervals) == [1, 3]
    assert summary.auc == pytest.approx(areas.mean())
    assert summary.pass_at_k_intervals[1].low < summary.pass_at_k[1] < summary.pass_at_k_intervals[1].high


def test_ungraded_as_wrong_counts_them_and_keeps_every_problem() -> None:
    given = counts([8, 6, 0], [4, 3, 0], ungraded=[0, 2, 8])
    summary = summarize(given, ungraded="wrong")
    assert list(summary.pass_at_k) == [1, 2, 4, 8]
    assert summary.pass_at_k[1] == pytest.approx((4 / 8 + 3 / 8 + 0) / 3)
    assert (summary.ungraded, summary.ungraded_problems, summary.ungraded_as) == (10, 1, "wrong")
    assert summarize(counts([0], [0], ungraded=[4]), ungraded="wrong").pass_at_k == {1: 0.0, 2: 0.0, 4: 0.0}
    with pytest.raises(ConfigError, match="ungraded must be one of excluded, wrong; got 'right'"):
        summarize(given, ungraded="right")
    with pytest.raises(DataError, match="got none"):
        summarize(counts([], []), ungraded="wrong")


def test_several_seeds_have_one_summary_over_seeds_and_problems() -> None:
    files = [SamplesFile("a", counts([4, 4, 4], [0, 1, 4])), SamplesFile("b", counts([8, 8, 8], [1, 4, 8]))]
    summary = summarize_seeds(files)
    assert list(summary.pass_at_k) == [1, 2, 4]
    assert summary.pass_at_k[1] == pytest.approx((0 + 1 / 4 + 1 + 1 / 8 + 1 / 2 + 1) / 6)
    assert (summary.problems, summary.samples, summary.samples_per_problem) == (3, 36, 4)
    values = np.array([[0, 1 / 4, 1], [1 / 8, 1 / 2, 1]])[:, :, None]
    np.testing.assert_allclose(summary.pass_at_k_intervals[1], seeded_mean_intervals(values)[0], atol=1e-12)
    assert summary.auc is not None


def test_one_seed_is_the_summary_of_its_file() -> None:
    given = counts([8, 6, 0], [4, 3, 0], ungraded=[0, 2, 8])
    one, alone = summarize_seeds([SamplesFile("a", given)]), summarize(given)
    assert one.auc == pytest.approx(alone.auc, abs=1e-15)
    assert replace(one, auc=alone.auc) == alone


def test_one_sample_per_problem_has_no_area() -> None:
    summary = summarize(counts([1, 1], [0, 1]))
    assert (summary.pass_at_k, summary.auc, summary.auc_max_k) == ({1: 0.5}, None, 1)


def test_chosen_ks_leave_the_area_as_it_is() -> None:
    full, chosen = summarize(counts([8, 8], [1, 3])), summarize(counts([8, 8], [1, 3]), [5, 2])
    assert list(chosen.pass_at_k) == [2, 5]
    assert chosen.auc == full.auc


def test_ungraded_samples_leave_n_and_shorten_the_curve() -> None:
    summary = summarize(counts([8, 6], [4, 3], ungraded=[0, 2]))
    assert list(summary.pass_at_k) == [1, 2, 4]
    assert summary.pass_at_k[1] == 0.5
    assert (summary.samples, summary.samples_per_problem, summary.ungraded) == (16, 8, 2)


def test_a_problem_without_grades_is_left_out_and_counted() -> None:
    summary = summarize(counts([4, 0], [2, 0], ungraded=[0, 4]))
    assert summary.pass_at_k == pytest.approx({1: 0.5, 2: 5 / 6, 4: 1.0})
    assert (summary.problems, summary.ungraded_problems) == (2, 1)


def test_nothing_graded_is_an_error() -> None:
    with pytest.raises(DataError, match="needs graded completions, got none"):
        summarize(counts([0], [0], ungraded=[4]))
    with pytest.raises(DataError, match="needs graded completions, got none"):
        summarize(counts([], []))


def test_a_problem_with_another_number_of_samples_is_named() -> None:
    with pytest.raises(DataError, match="problem 'p1' has 7 samples where others have 8"):
        summarize(counts([8, 6, 8], [1, 1, 1], ungraded=[0, 1, 0]))


def test_a_k_beyond_the_graded_samples_names_the_problem() -> None:
    with pytest.raises(ConfigError, match="Pass@4 needs 4 graded samples, but problem 'p2' has 3"):
        summarize(counts([4, 0, 3], [1, 0, 1], ungraded=[0, 4, 1]), [1, 4])
    with pytest.raises(ConfigError, match="k must be a whole number >= 1, got 0"):
        summarize(counts([4], [1]), [0])
