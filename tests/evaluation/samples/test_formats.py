"""Which format a first line is of."""

from __future__ import annotations

from typing import Any

import pytest

from ngrpo.errors import ConfigError
from ngrpo.evaluation.samples.entry import Choices
from ngrpo.evaluation.samples.formats import format_of

LINES: list[tuple[dict[str, Any], str]] = [
    ({"problem_id": "p", "sample": 0, "status": "wrong"}, "ngrpo's lines"),
    ({"question_id": 0, "generation_id": 0, "label": True}, "the reference implementation's lines"),
    ({"doc_id": 0, "filter": "none", "metrics": ["acc"], "acc": 1.0}, "sample logs of lm-evaluation-harness"),
    ({"doc_id": 0, "resps": [["a"]], "acc": 1.0}, "sample logs of lm-evaluation-harness"),
    ({"input": "q", "output": "a", "gts": "4", "score": 1.0, "step": 1}, "verl's dumps"),
]


@pytest.mark.parametrize(("row", "name"), LINES)
def test_the_keys_of_a_line_tell_its_format(row: dict[str, Any], name: str) -> None:
    assert format_of(row).name == name
    assert format_of({"note": "more keys do no harm", **row}).name == name


@pytest.mark.parametrize("row", [{}, {"id": 0}, {"doc_id": 0}, {"input": "q", "output": "a"}, {"problem_id": "p"}])
def test_any_other_line_is_one_of_a_table(row: dict[str, Any]) -> None:
    assert format_of(row).name == "tables"


@pytest.mark.parametrize(("row", "name"), LINES)
def test_named_columns_make_any_line_one_of_a_table(row: dict[str, Any], name: str) -> None:
    assert format_of(row).name == name
    assert format_of(row, Choices(id="id")).name == "tables"


@pytest.mark.parametrize(("row", "name"), LINES)
def test_metrics_and_filters_are_for_the_formats_that_have_them(row: dict[str, Any], name: str) -> None:
    for choices in (Choices(metric="acc"), Choices(filter_name="none")):
        if "harness" in name:
            assert format_of(row, choices).name == name
            continue
        with pytest.raises(ConfigError, match=f"is for sample logs of lm-evaluation-harness.*, not for {name}"):
            format_of(row, choices)
