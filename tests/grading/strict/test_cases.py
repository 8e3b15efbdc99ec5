"""What `strict` accepts and rejects, by family: cases/*.json hold [answer, reference]; everyday.json is to accept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ngrpo.grading.strict.equivalence import settled

CASES = Path(__file__).parent / "cases"


def pairs(name: str) -> list[object]:
    families = json.loads((CASES / f"{name}.json").read_text("utf-8"))
    return [pytest.param(*pair, id=f"{family}: {pair}") for family, given in families.items() for pair in given]


@pytest.mark.parametrize(("answer", "reference"), pairs("accept") + pairs("everyday"))
def test_accepted_without_sympy(answer: str, reference: str) -> None:
    verdict = settled(answer, reference)
    assert verdict is not None
    assert verdict.status == "correct", verdict


@pytest.mark.parametrize(("answer", "reference"), pairs("reject"))
def test_rejected_without_sympy_whichever_is_the_reference(answer: str, reference: str) -> None:
    for verdict in (settled(answer, reference), settled(reference, answer)):
        assert verdict is not None
        assert verdict.status == "wrong", verdict
