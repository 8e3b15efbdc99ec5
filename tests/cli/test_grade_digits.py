"""Integers of more digits than Python reads at once get a verdict or one clear line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DIGITS = "7" * 5000


def test_a_long_integer_as_an_answer_is_graded(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    rows = [{"completion": rf"\boxed{{{answer}}}", "reference": DIGITS} for answer in (DIGITS, DIGITS + "7")]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = json.loads(run("grade", path, "--json").out)
    assert (found["correct"], found["rows"]) == (1, 2)


def test_a_long_integer_of_json_is_one_line(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text(f'{{"completion": "a", "reference": {DIGITS}}}')
    outcome = run("grade", path)
    assert outcome.status == 1
    assert outcome.err == f"ngrpo: {path}, line 1: not JSON that can be read (an integer of more than 4,300 digits)\n"


def test_the_columns_are_named(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"output": "\\\\boxed{4}", "gold": "4"}')
    assert "columns: completion 'output', reference 'gold'" in run("grade", path).err


def test_a_long_integer_inside_a_cell_is_text(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"output": r"\boxed{4}", "gold": f'{{"a": {DIGITS}}}'}))
    outcome = run("grade", path)
    assert (outcome.status, "Traceback" in outcome.err) == (0, False)
