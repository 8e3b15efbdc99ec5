"""Verdicts against independent labels; the files are in the shared data folder of development machines."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from ngrpo.grading import GraderPool, last_boxed
from ngrpo.tasks.table_rows import read_rows
from tests.shared import SHARED

GRADED = SHARED / "data" / "graded"
pytestmark = pytest.mark.skipif(not GRADED.is_dir(), reason=f"{GRADED} is not on this machine")


def test_qwens_800_graded_completions() -> None:
    rows = [json.loads(line) for line in (GRADED / "qwen_800.jsonl").read_text("utf-8").split("\n") if line]
    with GraderPool() as pool:
        grades = pool.grade_many([(row["completion"], row["reference"]) for row in rows])
    disagreed = [
        (grade.answer, row["reference"])
        for grade, row in zip(grades, rows, strict=True)
        if (grade.status == "correct") != row["correct"]
    ]
    # The label says that 10000 is not 10,000.
    assert disagreed == [("10000", "10{,}000")]


def boxed(answer: str) -> str:
    return rf"\boxed{{{answer}}}"


def test_tricky_pairs() -> None:
    pairs = [pair for pair in json.loads((GRADED / "tricky.json").read_text()) if pair["expected"] != "policy"]
    with GraderPool(timeout_seconds=10.0) as pool:
        grades = pool.grade_many([(boxed(pair["answer"]), pair["reference"]) for pair in pairs])
    accepted = {pair["name"] for pair, grade in zip(pairs, grades, strict=True) if grade.status == "correct"}
    assert accepted == {pair["name"] for pair in pairs if pair["expected"] == "accept"}


def test_pairs_from_bug_reports() -> None:
    pairs = [pair for pair in json.loads((GRADED / "pairs.json").read_text("utf-8")) if pair["expected"] != "policy"]
    with GraderPool(timeout_seconds=10.0) as pool:
        grades = pool.grade_many([(pair["completion"], pair["reference"]) for pair in pairs])
    for label, least in (("accept", 0.93), ("reject", 0.98)):
        agreed = [
            (grade.status == "correct") == (label == "accept")
            for pair, grade in zip(pairs, grades, strict=True)
            if pair["expected"] == label
        ]
        assert sum(agreed) >= least * len(agreed), label


def test_hard_pairs() -> None:
    rows = json.loads((GRADED / "hardverify_even.json").read_text("utf-8"))
    with GraderPool(timeout_seconds=10.0) as pool:
        accepted = pool.grade_many([(boxed(row["accept"]), row["reference"]) for row in rows])
        rejected = pool.grade_many([(boxed(row["reject"]), row["reference"]) for row in rows])
    assert sum(grade.status == "correct" for grade in accepted) >= 105
    # Number 52 is labelled wrong: its two sets of solutions differ in their order alone.
    assert [row["id"] for row, grade in zip(rows, rejected, strict=True) if grade.status == "correct"] == [52]


def test_math_references_against_themselves_and_others() -> None:
    rows = read_rows(GRADED.parent / "math_test.parquet")
    references = [answer for row in rows if (answer := last_boxed(row["solution"]))]
    assert len(references) == 5000
    neighbours = list(pairwise(references[:1001]))
    with GraderPool(timeout_seconds=10.0) as pool:
        same = pool.grade_many([(boxed(answer), answer) for answer in references])
        different = pool.grade_many([(boxed(one), other) for one, other in neighbours])
    assert {grade.status for grade in same} == {"correct"}
    # Neighbours are the same now and then (6 and 6); never is one with another spelling taken for equal but these.
    accepted = {pair for pair, grade in zip(neighbours, different, strict=True) if grade.status == "correct"}
    assert {(one, other) for one, other in accepted if one != other} <= {("-1", "-1.")}
