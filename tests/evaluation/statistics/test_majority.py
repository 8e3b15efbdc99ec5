"""maj@k against an enumeration of all subsets; votes of every format that has answers."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.samples.counts import read_answers
from ngrpo.evaluation.statistics.intervals import mean_intervals
from ngrpo.evaluation.statistics.majority import (
    Split,
    Votes,
    majority_curve,
    majority_shares,
    read_votes,
    split_verdicts,
)
from ngrpo.evaluation.statistics.pass_at_k import pass_at_k
from ngrpo.evaluation.statistics.vote_shares import drawn_shares, exact_shares

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
def test_every_k_is_exact(answers: list[str]) -> None:
    ks = range(1, len(answers) + 1)
    expected = [enumerated(answers, k) for k in ks]
    assert majority_shares(votes_of(answers), ks, draws=1) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("correct", "wrong", "silent"), [(100, [50, 30, 20, 10, 10, *[1] * 30], 6), (60, [60, 59], 77)]
)
def test_draws_are_near_the_exact_value(correct: int, wrong: list[int], silent: int) -> None:
    exact = exact_shares(correct, wrong, silent)
    for k in (3, 16, 128):
        found = drawn_shares([correct, *wrong, silent], k, 20_000, np.random.default_rng(0))
        assert found == pytest.approx(exact[k], abs=4 * 0.5 / np.sqrt(20_000))


def test_equal_rivals_share_exactly() -> None:
    """A Monte Carlo of 1,000 draws printed 26.05 for the 25 of four answers with equal votes."""
    curve = majority_curve([votes_of("*7890" * 16)] * 2)
    assert list(curve.shares.values()) == pytest.approx([0.2] * 7, abs=1e-14)
    four = majority_curve([votes_of("*789" * 16)])
    assert [f"{100 * share:.2f}" for share in four.shares.values()] == ["25.00"] * 7
    assert four.exact
    assert exact_shares(500, [500], 0)[[1, 2, 250, 1000]] == pytest.approx(0.5, abs=1e-12)


def test_more_than_a_thousand_completions_are_drawn() -> None:
    votes = Votes(700, Counter({"7": 600}))
    first, again, other = (majority_shares(votes, [1, 8, 1300], draws=500, seed=seed).tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert (first[0], first[2]) == (700 / 1300, 1.0)
    assert not majority_curve([votes], [8], draws=50).exact
    assert majority_curve([votes], [1, 1300], draws=50).exact


@given(st.lists(st.sampled_from([CORRECT, SILENT]), min_size=1, max_size=7), st.data())
@settings(max_examples=50, deadline=None)
def test_without_a_wrong_vote_it_is_pass_at_k(answers: list[str], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(answers)))
    (found,) = majority_shares(votes_of(answers), [k], draws=1)
    assert found == pytest.approx(enumerated(answers, k))
    assert found == pytest.approx(pass_at_k(len(answers), answers.count(CORRECT), k))


@pytest.mark.parametrize(
    ("answers", "k", "share"),
    [
        ("**77", 4, 0.5),
        ("*78", 3, 1 / 3),
        ([SILENT, SILENT], 2, 0.0),
        (["*", SILENT, SILENT, SILENT], 4, 1.0),
        ("**789", 5, 1.0),
        ("77", 1, 0.0),
    ],
)
def test_ties_are_split_and_no_vote_is_wrong(answers: Sequence[str], k: int, share: float) -> None:
    assert majority_shares(votes_of(answers), [k]) == pytest.approx([share])


def test_a_curve_has_the_intervals_of_its_problems() -> None:
    votes = [votes_of("**7788*9" * 4), votes_of("*7777999" * 4), Votes()]
    curve = majority_curve(votes)
    assert list(curve.shares) == list(curve.intervals) == [1, 2, 4, 8, 16, 32]
    assert majority_curve(votes, [8]).shares == {8: pytest.approx(curve.shares[8])}
    assert curve.shares[1] == pytest.approx((12 / 32 + 4 / 32) / 2)
    assert curve.shares[32] == pytest.approx(0.5)
    values = np.array([majority_shares(own, [1, 8]) for own in votes[:2]])
    assert [curve.intervals[k] for k in (1, 8)] == [tuple(pair) for pair in mean_intervals(values).tolist()]
    assert majority_curve(votes[:1]).intervals == {}
    assert majority_curve(votes, clusters=["a", "a", "b"]).intervals == {}


def test_an_answer_that_was_judged_both_ways_is_listed() -> None:
    split = Votes(3, Counter({"7": 2, "8": 1}), right=Counter({"7": 2, "7.0": 1}))
    fine = Votes(1, Counter({"8": 1}), right=Counter({"7": 1}))
    assert list(split_verdicts({"p": split, "q": fine})) == [Split("p", "7", 2, 2)]


@pytest.mark.parametrize("k", [0, 3, -1, True])
def test_a_k_that_cannot_be_drawn_is_named(k: int) -> None:
    with pytest.raises(ConfigError, match="k of maj@k must be a whole number from 1 to 2"):
        majority_shares(votes_of("*7"), [k])


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
        (
            [{"problem_id": "p", "sample": 0, "status": "wrong", "answer": "1"}] * 2,
            r"duplicate sample 0 of problem 'p' \(lines 1 and 2\)",
        ),
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


@pytest.mark.parametrize("most_k", [1, 2, 3, 5, 9, 13])
@pytest.mark.parametrize(
    ("correct", "wrong", "silent"), [(3, [3, 2, 2], 3), (1, [1] * 9, 3), (9, [1, 2], 1), (5, [8], 0)]
)
def test_shares_up_to_a_k_are_those_of_all(correct: int, wrong: list[int], silent: int, most_k: int) -> None:
    whole = exact_shares(correct, wrong, silent)
    assert exact_shares(correct, wrong, silent, most_k) == pytest.approx(whole[: most_k + 1], abs=1e-12)


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        (Votes(3, Counter({"7": 3, "8": 3, "9": 1})), 1 / 3),
        (Votes(2, Counter({"7": 3})), 0.0),
        (Votes(4, Counter({"7": 3}), silent=9), 1.0),
    ],
)
def test_the_vote_of_all_completions(votes: Votes, expected: float) -> None:
    assert majority_shares(votes, [votes.completions])[0] == pytest.approx(expected)
    wrong = list(votes.wrong.values())
    assert exact_shares(votes.correct, wrong, votes.silent)[-1] == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["ours", "reference"])
def test_both_readers_see_the_same_votes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    draw = random.Random(1)
    rows: list[dict[str, Any]] = []
    for number in range(900):
        answer = draw.choice(["5", " 5 ", "x", "", "[invalid]", None])
        problem, sample = number % 30, number // 30
        if kind == "ours":
            status = draw.choice(["correct", "wrong", "no_answer", "ungraded"])
            rows.append({"problem_id": f"p{problem}", "sample": sample, "status": status, "answer": answer})
        else:
            label = draw.random() < 0.5
            rows.append({"question_id": problem, "generation_id": sample, "label": label, "pred_answer": answer})
    path = written(tmp_path, *rows)
    slow = read_votes(path)
    monkeypatch.setattr("ngrpo.evaluation.samples.counts.FAST_FROM", 0)
    assert read_answers(path) is not None
    fast = read_votes(path)
    assert list(fast) == list(slow)
    assert fast == slow
    assert [list(own.wrong) for own in fast.values()] == [list(own.wrong) for own in slow.values()]
    assert [own.right for own in fast.values()] == [own.right for own in slow.values()]
