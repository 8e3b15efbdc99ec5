"""Comparisons: paired differences, what they are of, and what the reader is told."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngrpo.errors import ConfigError
from ngrpo.evaluation.samples.counts import Counts
from ngrpo.evaluation.statistics.cautions import caution_notes
from ngrpo.evaluation.statistics.comparison import compare
from ngrpo.evaluation.statistics.intervals import difference_intervals
from ngrpo.evaluation.statistics.matching import SamplesFile
from ngrpo.evaluation.statistics.pass_at_k import pass_at_k
from ngrpo.evaluation.statistics.sign_flip_test import sign_flip_p_value


def file(c: list[int], n: int = 8, ungraded: list[int] | None = None, name: str = "f") -> SamplesFile:
    left = np.array(ungraded or [0] * len(c))
    return SamplesFile(name, Counts(tuple(f"p{i}" for i in range(len(c))), n - left, np.array(c), left))


CORRECT = st.lists(st.integers(0, 8), min_size=2, max_size=12)


def test_the_numbers_are_those_of_the_parts() -> None:
    a, b = [0, 1, 5, 8, 3, 2], [0, 0, 4, 8, 4, 0]
    found = compare([file(a)], [file(b)], [1, 4])
    for k in (1, 4):
        of_a, of_b = np.asarray(pass_at_k(8, a, k)), np.asarray(pass_at_k(8, b, k))
        difference = found.pass_at_k[k]
        assert (difference.a, difference.b) == pytest.approx((of_a.mean(), of_b.mean()))
        assert difference.difference == pytest.approx(difference.a - difference.b)
        assert difference.interval == pytest.approx(difference_intervals(of_a[:, None], of_b[:, None])[0])
        assert difference.p_value == sign_flip_p_value(of_a - of_b)
    assert found.auc is not None
    assert found.auc.difference > 0
    assert (found.problems, found.samples_a, found.samples_b, found.auc_max_k) == (6, (8,), (8,), 8)


@given(CORRECT)
@settings(deadline=None, max_examples=20)
def test_a_file_against_itself_is_no_difference(c: list[int]) -> None:
    found = compare([file(c)], [file(c)])
    for difference in found.pass_at_k.values():
        assert (difference.difference, difference.p_value) == (0.0, 1.0)
        assert difference.interval.low == -difference.interval.high


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=2, max_size=12))
@settings(deadline=None, max_examples=20)
def test_turned_round_it_is_the_negative(pairs: list[tuple[int, int]]) -> None:
    a, b = (file(list(side)) for side in zip(*pairs, strict=True))
    there, back = compare([a], [b]).auc, compare([b], [a]).auc
    assert there is not None
    assert back is not None
    assert there.difference == pytest.approx(-back.difference, abs=1e-15)
    assert there.interval == pytest.approx((-back.interval.high, -back.interval.low), abs=1e-12)
    assert there.p_value == back.p_value


def test_several_seeds_have_no_p_value_and_say_so() -> None:
    a, b = [file([1, 2, 3]), file([2, 3, 3])], [file([0, 2, 2]), file([1, 1, 2])]
    found = compare(a, b)
    assert {difference.p_value for difference in found.pass_at_k.values()} == {None}
    assert found.pass_at_k[1].a == pytest.approx(14 / 48)
    assert found.notes[0] == "A has 2 training seeds, B 2: intervals are over seeds and problems, without a p-value"
    assert not any("one training seed" in note for note in found.notes)
    mixed = compare(a, b[:1])
    assert mixed.notes[0].endswith("; B is assumed to vary between seeds as A does")
    assert any("one training seed" in note for note in mixed.notes)


def test_what_was_left_out_or_shortened_is_said() -> None:
    found = compare([file([1, 2, 0], ungraded=[1, 0, 8])], [file([1, 2, 2], n=4)])
    assert (found.problems, found.left_out, found.ungraded_a, found.ungraded_b) == (2, 1, 9, 0)
    assert found.notes[:3] == (
        "9 ungraded samples are left out",
        "problems without graded samples in some file, left out of all: 1",
        "the files have 4 and 8 samples per problem: compared up to k = 4, which all of them reach",
    )
    wrong = compare([file([1, 2, 0], ungraded=[1, 0, 8])], [file([1, 2, 2])], [2], ungraded="wrong")
    assert (wrong.problems, wrong.notes[0]) == (3, "9 ungraded samples count as wrong")


def test_json_is_plain_and_complete() -> None:
    found = json.loads(json.dumps(compare([file([1, 2])], [file([0, 2])]).to_json()))
    assert list(found["pass_at_k"]) == ["1", "2", "4", "8"]
    assert set(found["pass_at_k"]["1"]) == {"a", "b", "difference", "interval", "p_value"}
    unknown = {"identical": None, "truncated": None, "no_answer": None}
    assert found["a"] == {"samples_per_problem": [8], "ungraded": 0, **unknown}
    assert (found["interval_level"], found["ungraded_as"]) == (0.95, "excluded")
    assert len(found["notes"]) == 3
    assert json.loads(json.dumps(compare([file([1, 2], n=2)], [file([0, 2], n=2)], [1]).to_json()))["auc"] is not None
    assert compare([file([1, 0], n=1)], [file([0, 0], n=1)]).to_json()["auc"] is None


def test_a_side_without_files() -> None:
    with pytest.raises(ConfigError, match="needs a samples file of A and one of B"):
        compare([], [file([1])])


def test_cautions_come_when_they_apply() -> None:
    def notes(problems: int = 100, n: int = 64, k: int = 32, several: bool = True) -> list[str]:
        return caution_notes(problems=problems, samples_per_problem=n, largest_k=k, several_seeds=several)

    assert notes() == []
    assert "only 99 problems" in notes(problems=99)[0]
    assert "rely on k <= 31, or sample 64 per problem" in notes(n=63)[0]
    assert notes(n=1, k=1) == ["Pass@1 from 1 sample per problem is noisy: sample 2 per problem"]
    assert "one training seed" in notes(several=False)[0]
