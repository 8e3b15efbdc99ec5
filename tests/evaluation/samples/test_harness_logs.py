"""Sample logs with lines as lm-evaluation-harness 0.4.13 writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ngrpo.errors import DataError
from ngrpo.evaluation.samples.counts import Counts, read_counts
from ngrpo.evaluation.samples.entry import Choices

GSM8K = r"""{"doc_id": 0, "doc": {"question": "Janet's ducks lay 16 eggs per day. How much?", "answer": "16 - 3 - 4 = <<16-3-4=9>>9 eggs\n9 * 2 = $<<9*2=18>>18\n#### 18"}, "target": "16 - 3 - 4 = <<16-3-4=9>>9 eggs\n9 * 2 = $<<9*2=18>>18\n#### 18", "arguments": {"gen_args_0": {"arg_0": "Question: Janet's ducks lay 16 eggs per day. How much?\nAnswer:", "arg_1": {"until": ["Question:", "</s>"], "do_sample": false, "temperature": 0.0}}}, "resps": [["She has 9 left.\n#### 18"]], "filtered_resps": ["18"], "filter": "strict-match", "metrics": ["exact_match"], "doc_hash": "6a2e", "prompt_hash": "91c4", "target_hash": "a8f5", "exact_match": 1.0}"""  # noqa: E501
ARC = r"""{"doc_id": 3, "doc": {"id": "Mercury_417466", "question": "Which?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "B"}, "target": "1", "arguments": {"gen_args_0": {"arg_0": "Question: Which?\nAnswer:", "arg_1": " a"}, "gen_args_1": {"arg_0": "Question: Which?\nAnswer:", "arg_1": " b"}}, "resps": [[["-5.25", "False"]], [["-1.5", "True"]]], "filtered_resps": [["-5.25", "False"], ["-1.5", "True"]], "filter": "none", "metrics": ["acc", "acc_norm"], "doc_hash": "6a2e", "prompt_hash": "91c4", "target_hash": "a8f5", "acc": 1.0, "acc_norm": 0.0}"""  # noqa: E501


def harness(**changes: Any) -> dict[str, Any]:
    return json.loads(GSM8K) | changes


def written(tmp_path: Path, *rows: dict[str, Any]) -> Path:
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def numbers(counts: Counts) -> list[tuple[int, int, int]]:
    return list(zip(counts.n.tolist(), counts.c.tolist(), counts.ungraded.tolist(), strict=True))


def test_one_response_per_document(tmp_path: Path) -> None:
    path = written(tmp_path, harness(), harness(doc_id=1, exact_match=0.0), harness(doc_id=2, exact_match=True))
    counts = read_counts(path)
    assert counts.problem_ids == ("0", "1", "2")
    assert numbers(counts) == [(1, 1, 0), (1, 0, 0), (1, 1, 0)]


def test_a_value_per_response(tmp_path: Path) -> None:
    several = harness(resps=[["a", "b", "c"]], filtered_resps=[["a", "b", "c"]], exact_match=[1, 0.0, True])
    assert numbers(read_counts(written(tmp_path, several))) == [(3, 2, 0)]


def test_a_filter_is_chosen(tmp_path: Path) -> None:
    rows = [harness(doc_id=i, filter=name, exact_match=float(name == "flexible-extract")) for name in
            ("strict-match", "flexible-extract") for i in range(2)]  # fmt: skip
    path = written(tmp_path, *rows)
    with pytest.raises(DataError, match="filters, strict-match, flexible-extract: choose one with --filter"):
        read_counts(path)
    assert numbers(read_counts(path, Choices(filter_name="flexible-extract"))) == [(1, 1, 0)] * 2
    assert numbers(read_counts(path, Choices(filter_name="strict-match"))) == [(1, 0, 0)] * 2
    with pytest.raises(DataError, match="has no filter 'strict', found: strict-match, flexible-extract"):
        read_counts(path, Choices(filter_name="strict"))


def test_a_metric_is_chosen(tmp_path: Path) -> None:
    path = written(tmp_path, json.loads(ARC), json.loads(ARC) | {"doc_id": 4, "acc": 0.0})
    with pytest.raises(DataError, match="line 1: holds several metrics, acc, acc_norm: choose one with --metric"):
        read_counts(path)
    assert numbers(read_counts(path, Choices(metric="acc"))) == [(1, 1, 0), (1, 0, 0)]
    assert numbers(read_counts(path, Choices(metric="acc_norm"))) == [(1, 0, 0), (1, 0, 0)]
    with pytest.raises(DataError, match="line 1: has no metric 'f1', found: acc, acc_norm"):
        read_counts(path, Choices(metric="f1"))


def test_a_log_that_does_not_list_its_metrics(tmp_path: Path) -> None:
    row = {key: value for key, value in harness().items() if key not in ("metrics", "filter")}
    assert numbers(read_counts(written(tmp_path, row))) == [(1, 1, 0)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exact_match": 0.25}, "line 2: exact_match 0.25 is neither 0 nor 1: an aggregate or a score"),
        ({"exact_match": None}, "line 2: exact_match None is neither 0 nor 1"),
        ({"exact_match": "1"}, "line 2: exact_match '1' is neither 0 nor 1"),
        ({"exact_match": [0.5]}, "line 2: exact_match 0.5 is neither 0 nor 1"),
        ({"exact_match": [0, 1]}, "line 2: exact_match has 2 values for 1 responses"),
        ({"resps": [["a", "b"]]}, "line 2: exact_match is one value for 2 responses: an aggregate, or that of one of"),
        ({"metrics": []}, "line 2: has no metric$"),
        ({"metrics": ["f1"]}, "line 2: has no metric$"),
        ({"filter": 3}, "line 2: filter must be text, got 3"),
        ({"doc_id": None}, "line 2: the id of a problem must be"),
        ({"doc_id": 0}, r"duplicate sample 0 of problem '0' \(lines 1 and 2\)"),
    ],
)
def test_a_bad_line_of_the_harness_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_counts(written(tmp_path, harness(), harness(**{"doc_id": 1} | changes)))
    assert "\n" not in str(caught.value)
