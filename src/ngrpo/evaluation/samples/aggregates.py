"""Results that are aggregated already, which hold no verdict per sample: what they are, and what to give instead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def aggregate_hint(document: Any) -> str:
    """Returns what an aggregated results document is and how its tool writes samples; empty for any other document."""
    if isinstance(document, list):
        return _hint_of_list(document)
    keys = document.keys()
    if "results" in keys and "config_general" in keys:
        return (
            "aggregated results of lighteval, without samples: run lighteval with --save-details and give "
            "details_TASK_DATE.parquet"
        )
    if "results" in keys and not keys.isdisjoint(("configs", "versions", "n-shot", "config")):
        return (
            "aggregated results of lm-evaluation-harness, without samples: run lm_eval with --log_samples and "
            "--output_path DIR, and give samples_TASK_DATE.jsonl"
        )
    if _is_inspect_header(document):
        return (
            "the header of an inspect_ai log, without samples: give the .eval file, or the output of inspect log dump"
        )
    if keys and all(str(key).lower().startswith(("pass@", "pass_at_")) for key in keys):
        return "values of Pass@k, without samples: give the file with a verdict per sample"
    return ""


def row_hint(row: Mapping[str, Any]) -> str:
    """Returns what to do with a row of completions that nobody has graded, empty for any other row."""
    keys = row.keys()
    if "task_id" in keys and not keys.isdisjoint(("completion", "solution")) and len(keys) <= 3:
        return (
            "completions without verdicts: HumanEval's evaluate_functional_correctness writes FILE_results.jsonl, "
            "evalplus.evaluate writes *_eval_results.json"
        )
    if {"question_id", "code_list"} <= keys and "graded_list" not in keys:
        return "completions of LiveCodeBench without verdicts: run it with --evaluate and give *_eval_all.json"
    return ""


def _hint_of_list(document: list[Any]) -> str:
    first = document[0] if document else None
    if not isinstance(first, dict):
        return ""
    if "pass@1" in first and "detail" in first:
        return "aggregated results of LiveCodeBench: give *_eval_all.json, which has a verdict per sample"
    if _is_inspect_header(first) or (
        {"name", "task", "mtime"} <= first.keys() and ".eval" in json.dumps(first["name"])
    ):
        return "a list of inspect_ai logs, without samples: give the .eval files themselves"
    return ""


def _is_inspect_header(document: Mapping[str, Any]) -> bool:
    has_eval = isinstance(document.get("eval"), dict) and "task" in document["eval"]
    return has_eval and "status" in document and not document.get("samples")
