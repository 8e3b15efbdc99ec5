"""Verdicts against independent labels; the files are in the shared data folder of development machines."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ngrpo.grading import GraderPool

GRADED = Path(os.environ.get("NGRPO_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "graded"
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


def test_tricky_pairs() -> None:
    pairs = [pair for pair in json.loads((GRADED / "tricky.json").read_text()) if pair["expected"] != "policy"]
    with GraderPool(timeout_seconds=10.0) as pool:
        grades = pool.grade_many([(rf"\boxed{{{pair['answer']}}}", pair["reference"]) for pair in pairs])
    accepted = {pair["name"] for pair, grade in zip(pairs, grades, strict=True) if grade.status == "correct"}
    labelled = {pair["name"] for pair in pairs if pair["expected"] == "accept"}
    # What math-verify gets wrong, and nothing more.
    assert accepted - labelled == {"base2", "tiny_pow", "fp_small_exp", "prime"}
    assert labelled - accepted == {"repeating", "fullwidth", "sqrt_neg"}
