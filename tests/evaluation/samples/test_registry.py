"""Which format a first line is of."""

from __future__ import annotations

from typing import Any

import pytest

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.samples.registry import format_of

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


@pytest.mark.parametrize("row", [{}, {"id": 0}, {"doc_id": 0}, {"input": "q", "output": "a"}])
def test_any_other_line_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="not a line of a samples file: expected the keys problem_id, sample and"):
        format_of(row)


@pytest.mark.parametrize(("row", "name"), LINES)
def test_only_the_harness_has_metrics_and_filters(row: dict[str, Any], name: str) -> None:
    for choice in ({"metric": "acc"}, {"filter_name": "none"}):
        if "harness" in name:
            assert format_of(row, **choice).name == name
            continue
        with pytest.raises(ConfigError, match=f"in sample logs of lm-evaluation-harness, not in {name}"):
            format_of(row, **choice)
