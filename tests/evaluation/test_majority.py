"""maj@k against an enumeration of all subsets; votes of every format that has answers."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.majority import Votes, majority_at_k, majority_curve, read_votes
from ngrpo.evaluation.pass_at_k import pass_at_k

CORRECT, SILENT = "*", ""


def votes_of(answers: Sequence[str]) -> Votes:
    wrong = Counter(answer for answer in answers if answer not in (CORRECT, SILENT))
    return Votes(list(answers).count(CORRECT), wrong, list(answers).count(SILENT))


def enumerated(answers: Sequence[str], k: int) -> float:
    """The mean over all subsets of k, each counted by hand."""
    shares = []
    for subset in itertools.combinations(answers, k):
        tally = {answer: subset.count(answer) for answer in subset if answer != SILENT}
        winners = [answer for answer, count in tally.items() if count == max(tally.values())]
        shares.append(1 / len(winners) if CORRECT in winners else 0.0)
    return sum(shares) / len(shares)


answer_lists = st.lists(st.sampled_from([CORRECT, CORRECT, SILENT, "7", "8", "9"]), min_size=1, max_size=7)


@given(answer_lists)
@settings(max_examples=150, deadline=None)
def test_the_ends_are_exact(answers: list[str]) -> None:
    votes = votes_of(answers)
    for k in (1, len(answers)):
        assert majority_at_k(votes, k, np.random.default_rng(0), draws=1) == pytest.approx(enumerated(answers, k))


@given(answer_lists, st.data())
@settings(max_examples=40, deadline=None)
def test_between_the_ends_the_mean_over_draws_is_near(answers: list[str], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(answers)))
    found = majority_at_k(votes_of(answers), k, np.random.default_rng(0), draws=20_000)
    assert found == pytest.approx(enumerated(answers, k), abs=5 * 0.5 / np.sqrt(20_000))


@given(st.lists(st.sampled_from([CORRECT, SILENT]), min_size=1, max_size=7), st.data())
@settings(max_examples=50, deadline=None)
def test_without_a_wrong_vote_it_is_pass_at_k(answers: list[str], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(answers)))
    found = majority_at_k(votes_of(answers), k, np.random.default_rng(0), draws=1)
    assert found == pytest.approx(enumerated(answers, k))
    assert found == pytest.approx(pass_at_k(len(answers), answers.count(CORRECT), k))


def test_ties_are_split_and_no_vote_is_wrong() -> None:
    generator = np.random.default_rng(0)
    assert majority_at_k(votes_of("**77"), 4, generator) == 0.5
    assert majority_at_k(votes_of("*78"), 3, generator) == pytest.approx(1 / 3)
    assert majority_at_k(votes_of([SILENT, SILENT]), 2, generator) == 0.0
    assert majority_at_k(votes_of(["*", SILENT, SILENT, SILENT]), 4, generator) == 1.0
    assert majority_at_k(votes_of("**789"), 5, generator) == 1.0
    assert majority_at_k(votes_of("77"), 1, generator) == 0.0


def test_a_curve_is_seeded_and_each_k_stands_alone() -> None:
    votes = [votes_of("**7788*9" * 4), votes_of("*7777999" * 4), Votes()]
    curve = majority_curve(votes, draws=200)
    assert list(curve) == [1, 2, 4, 8, 16, 32]
    assert curve == majority_curve(votes, draws=200)
    assert majority_curve(votes, [8], draws=200) == {8: curve[8]}
    assert majority_curve(votes, [8], draws=200, seed=1) != {8: curve[8]}
    assert curve[1] == pytest.approx((12 / 32 + 4 / 32) / 2)
    assert curve[32] == 0.5


@pytest.mark.parametrize("k", [0, 3, -1, True])
def test_a_k_that_cannot_be_drawn_is_said(k: int) -> None:
    with pytest.raises(ConfigError, match="k of maj@k must be a whole number from 1 to 2"):
        majority_at_k(votes_of("*7"), k, np.random.default_rng(0))


def test_what_else_is_refused() -> None:
    with pytest.raises(ConfigError, match="from 1 to 2, the graded completions; got 3"):
        majority_curve([votes_of("*7"), votes_of("*77")], [3])
    with pytest.raises(ConfigError, match="got -1"):
        majority_curve([votes_of("*7")], [-1])
    with pytest.raises(ConfigError, match="draws must be >= 1, got 0"):
        majority_curve([votes_of("*7")], [1], draws=0)
    with pytest.raises(DataError, match=r"maj@k needs graded completions, got none"):
        majority_curve([Votes()])


def written(tmp_path: Path, *rows: dict[str, Any]) -> Path:
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_votes_of_our_lines(tmp_path: Path) -> None:
    answers = [("correct", "4"), ("correct", None), ("wrong", " 5"), ("wrong", "5"), ("wrong", None)]
    answers += [("no_answer", "6"), ("ungraded", "7")]
    rows = [
        {"problem_id": "p", "sample": index, "status": status, "answer": answer}
        for index, (status, answer) in enumerate(answers)
    ]
    rows.append({"problem_id": "q", "sample": 0, "status": "ungraded", "answer": None})
    assert read_votes(written(tmp_path, *rows)) == {"p": Votes(2, Counter({"5": 2}), 2), "q": Votes()}


def test_votes_of_the_reference(tmp_path: Path) -> None:
    rows = [
        {"question_id": 0, "generation_id": index, "label": label, "pred_answer": answer}
        for index, (label, answer) in enumerate([(True, "1/2"), (False, "2"), (False, ""), (False, 2), (False, None)])
    ]
    assert read_votes(written(tmp_path, *rows)) == {"0": Votes(1, Counter({"2": 2}), 2)}


def test_votes_of_the_harness(tmp_path: Path) -> None:
    row = {"doc_id": 0, "resps": [["a", "b", "c"]], "filter": "regex", "metrics": ["exact_match"]}
    several = row | {"filtered_resps": [["18", "17", "[invalid]"]], "exact_match": [1, 0, 0]}
    one = {"doc_id": 1, "resps": [["a"]], "filter": "regex", "metrics": ["exact_match"]}
    one |= {"filtered_resps": ["3"], "exact_match": 0.0}
    assert read_votes(written(tmp_path, several, one)) == {
        "0": Votes(1, Counter({"17": 1}), 1),
        "1": Votes(0, Counter({"3": 1}), 0),
    }


def test_votes_of_verl(tmp_path: Path) -> None:
    rows = [
        {"input": "q", "output": "o", "gts": "4", "score": score, "step": 1, "acc": score > 0, "pred": pred}
        for score, pred in [(1.0, "4"), (-1.0, "5"), (-1.0, "[INVALID]")]
    ]
    assert list(read_votes(written(tmp_path, *rows)).values()) == [Votes(1, Counter({"5": 1}), 1)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"problem_id": "p", "sample": 0, "status": "wrong"}], "has no answers: ngrpo's lines have them under answer"),
        ([{"question_id": 0, "generation_id": 0, "label": 1}], "has no answers: .* under pred_answer"),
        ([{"input": "q", "output": "o", "score": 0}], "has no answers: verl's dumps have them under pred"),
        (
            [
                {"doc_id": 0, "resps": [[["-1", "True"]], [["-2", "False"]]], "filter": "none", "metrics": ["acc"]}
                | {"filtered_resps": [["-1", "True"], ["-2", "False"]], "acc": 1.0}
            ],
            "has no answers: sample logs of lm-evaluation-harness have them under filtered_resps",
        ),
        ([{"problem_id": "p", "sample": 0, "status": "wrong", "answer": "1"}] * 2, "is there twice, in lines 1 and 2"),
        ([{"problem_id": "p", "sample": 1, "status": "wrong", "answer": "1"}], "sample 0 of problem 'p' is missing"),
    ],
)
def test_a_file_without_votes_is_said(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_votes(written(tmp_path, *rows))
    assert "\n" not in str(caught.value)


def test_counts_have_no_answers(tmp_path: Path) -> None:
    path = tmp_path / "counts.csv"
    path.write_text("problem_id,n,c\np,4,1\n")
    with pytest.raises(DataError, match="has no answers: it holds counts"):
        read_votes(path)
