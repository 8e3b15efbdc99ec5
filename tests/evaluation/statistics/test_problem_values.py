"""Values of single problems average to the curve, and files are aligned by the ids of their problems."""

import numpy as np
import pytest

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.samples.counts import Counts
from ngrpo.evaluation.statistics.matching import SamplesFile
from ngrpo.evaluation.statistics.pass_at_k import auc, pass_at_k_curve
from ngrpo.evaluation.statistics.problem_values import aligned_values, checked_ungraded, problem_values


def file(name: str, ids: str, n: list[int], c: list[int], ungraded: list[int] | None = None) -> SamplesFile:
    return SamplesFile(name, Counts(tuple(ids), np.array(n), np.array(c), np.array(ungraded or [0] * len(n))))


def test_values_average_to_the_curve_and_its_area() -> None:
    rng = np.random.default_rng(0)
    n, c = np.full(40, 64), rng.integers(0, 65, 40)
    ks = [1, 2, 4, 8, 16, 32, 64]
    means = problem_values(n, c, [3, 7], ks).mean(axis=0)
    curve = pass_at_k_curve(n, c, [3, 7])
    assert means == pytest.approx([curve[3], curve[7], auc(pass_at_k_curve(n, c, ks))], abs=1e-14)
    assert problem_values(n, c, [], [1]).shape == (40, 0)
    assert problem_values(n, n, ks, ks).tolist() == [[1.0] * 8] * 40


def test_the_order_of_problems_does_not_matter() -> None:
    aligned = aligned_values([file("a", "pq", [4, 4], [0, 4]), file("b", "qp", [4, 4], [3, 1])], [1], "excluded")
    assert aligned.values[:, :, 0].tolist() == [[0.0, 1.0], [0.25, 0.75]]
    assert (aligned.ks, aligned.auc_max_k, aligned.has_auc) == ((1,), 4, True)


def test_a_problem_without_grades_anywhere_is_left_out_everywhere() -> None:
    files = [file("a", "pqr", [4, 0, 4], [1, 0, 2], [0, 4, 0]), file("b", "pqr", [4, 4, 0], [1, 2, 0], [0, 0, 4])]
    aligned = aligned_values(files, None, "excluded")
    assert (aligned.problems, aligned.left_out) == (1, 2)
    assert aligned_values(files, None, "wrong").left_out == 0


def test_different_n_gives_the_ks_that_all_reach() -> None:
    aligned = aligned_values([file("a", "p", [64], [1]), file("b", "p", [6], [1])], None, "excluded")
    assert (aligned.ks, aligned.auc_max_k) == ((1, 2, 4), 4)
    assert not aligned_values([file("a", "p", [1], [1])], None, "excluded").has_auc


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (file("B", "pqr", [4] * 3, [0] * 3), "problem 'r' is in B but not in A: files are compared problem by problem"),
        (file("B", "p", [4], [0]), "problem 'q' is in A but not in B"),
        (file("B", "pq", [4, 5], [0, 0]), "B: problem 'q' has 5 samples where others have 4"),
        (file("B", "pq", [0, 0], [0, 0], [4, 4]), "no problem has graded completions in all of A, B"),
    ],
)
def test_files_that_cannot_be_aligned(other: SamplesFile, message: str) -> None:
    with pytest.raises(DataError, match=message):
        aligned_values([file("A", "pq", [4, 4], [0, 1]), other], None, "excluded")


def test_ks_beyond_a_file_name_it() -> None:
    files = [file("A", "pq", [8, 8], [0, 1]), file("B", "pq", [8, 7], [0, 1], [0, 1])]
    with pytest.raises(ConfigError, match="B: Pass@8 needs 8 graded samples, but problem 'q' has 7"):
        aligned_values(files, [8], "excluded")
    assert aligned_values(files, [8], "wrong").ks == (8,)
    with pytest.raises(ConfigError, match="k must be a whole number >= 1"):
        aligned_values(files, [0], "excluded")


def test_nothing_graded_and_unknown_choices() -> None:
    with pytest.raises(DataError, match="needs graded completions, got none"):
        aligned_values([file("A", "p", [0], [0], [4])], None, "excluded")
    with pytest.raises(ConfigError, match="ungraded must be one of excluded, wrong; got ''"):
        checked_ungraded("")
