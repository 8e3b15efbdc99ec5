"""Which columns hold what: the same for tasks and `ngrpo grade`; references that are missing or not finite."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from ngrpo.errors import DataError
from ngrpo.tasks import load_task
from ngrpo.tasks.problem_columns import COMPLETIONS, QUESTIONS, REFERENCES, recognised


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        names = list(rows[0])
        path.write_text("\n".join([",".join(names), *(",".join(str(row[name]) for name in names) for row in rows)]))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def references(path: Path) -> list[str]:
    return [problem.reference for problem in load_task({"name": f"file:{path}"}).load_problems("train")]


@pytest.mark.parametrize(("first", "second"), list(pairwise(REFERENCES)))
def test_task_and_command_take_the_same_reference_of_a_row(run: Any, tmp_path: Path, first: str, second: str) -> None:
    row: dict[str, Any] = {"question": "q", "completion": r"\boxed{1}", second: "2", first: "1"}
    if "." in first:
        row["reward_model"] = {"ground_truth": row.pop(first)}
    if "." in second:
        row["reward_model"] = {"ground_truth": row.pop(second)}
    path = written(tmp_path / "rows.jsonl", [row])
    assert references(path) == ["1"]
    done = run("grade", path, "--json")
    found = json.loads(done.out)
    assert (found["correct"], found["columns"]) == (1, {"completion": "completion", "reference": first})
    assert done.err == f"columns: completion 'completion', reference '{first}'\n"


def test_columns_are_recognised_by_the_first_row_where_they_hold_something(run: Any, tmp_path: Path) -> None:
    rows = [{"answer": "", "reference": None}, {"answer": "3"}, {"late": 1, "text": "t"}]
    assert recognised(rows, REFERENCES) == "answer"
    assert recognised(rows, COMPLETIONS) == "text"
    assert recognised(rows, QUESTIONS) == ""
    late = [{"completion": "", "answer": "1"}, {"completion": r"\boxed{1}", "answer": "1"}]
    found = json.loads(run("grade", written(tmp_path / "rows.jsonl", late), "--json").out)
    assert (found["no_answer"], found["correct"]) == (1, 1)


MISSING = [math.nan, math.inf, -math.inf, None, "", "nan", "NaN", "Infinity", "None", "null"]


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("value", MISSING, ids=repr)
def test_a_missing_or_infinite_reference_is_an_error_with_its_row(
    run: Any, tmp_path: Path, ending: str, value: Any
) -> None:
    kind = str if isinstance(value, str) else float
    rows = [
        {"question": "q", "completion": r"\boxed{4}", "reference": each} for each in (kind(4), value, kind(5), kind(6))
    ]
    path = written(tmp_path / f"rows.{ending}", rows)
    with pytest.raises(DataError, match=r"row 2: 'reference' is") as caught:
        references(path)
    assert str(caught.value).startswith(str(path))
    done = run("grade", path)
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert f"{path}, row 2: 'reference' is" in done.err


def test_words_that_look_missing_are_answers_in_a_column_of_text(tmp_path: Path) -> None:
    rows = [{"question": "q", "reference": text} for text in ("x+1", "Infinity", "None")]
    assert references(written(tmp_path / "rows.jsonl", rows)) == ["x+1", "Infinity", "None"]


def test_whole_numbers_in_a_column_of_floats(run: Any, tmp_path: Path) -> None:
    rows = [{"question": "q", "completion": r"\boxed{27}", "reference": 27.0}]
    path = written(tmp_path / "rows.parquet", rows)
    assert references(path) == ["27"]
    assert json.loads(run("grade", path, "--grader", "exact", "--json").out)["correct"] == 1


def test_references_of_a_choice_task_are_read_too(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [{"question": "q", "solution": r"So it is $\boxed{\text{(B)}}$."}])
    task = load_task({"name": f"file:{path}", "grader": "choice"})
    (problem,) = task.load_problems("train")
    assert problem.reference == r"\text{(B)}"
    assert task.grade_many([(problem, "The answer is B."), (problem, "(C)")])[0].status == "correct"


def test_markers_of_a_task_and_of_the_command(run: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [{"question": "q", "completion": "I choose 7.", "answer": "7"}])
    task = load_task({"name": f"file:{path}", "markers": ["I choose"]})
    (problem,) = task.load_problems("train")
    assert task.grade_many([(problem, "I CHOOSE 7.")])[0].status == "correct"
    assert load_task({"name": f"file:{path}"}).grade_many([(problem, "I choose 7.")])[0].status == "no_answer"
    counts = [
        json.loads(run("grade", path, "--json", *more).out)["correct"]
        for more in ([], ["--marker", "Mine:", "--marker", "i choose"])
    ]
    assert counts == [0, 1]
