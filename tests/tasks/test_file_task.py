from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from ngrpo.errors import ConfigError, DataError
from ngrpo.tasks import load_task
from ngrpo.tasks.table_rows import read_rows
from ngrpo.types import Message, Problem

Rows = Sequence[dict[str, Any]]


def write_jsonl(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_parquet(path: Path, rows: Rows) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


def write_csv(path: Path, rows: Rows) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        # What pandas and others do with a nested value: its JSON text.
        writer.writerows([{k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()} for row in rows])


FORMATS: dict[str, Callable[[Path, Rows], None]] = {".jsonl": write_jsonl, ".parquet": write_parquet, ".csv": write_csv}

PLAIN = [
    {"question": "What is 1+1? { } é \u2028", "answer": "2"},
    {"question": 'A line\nand "quotes", commas', "answer": "[1,2]"},
]
VERL = [
    {
        "data_source": "MATH",
        "prompt": [{"role": "user", "content": f"What is {n}+{n}?"}],
        "reward_model": {"style": "rule", "ground_truth": f"{2 * n}"},
        "extra_info": {"index": 10 + n, "split": "train"},
    }
    for n in range(3)
]


def problems(path: Path, rows: Rows, split: Any = "train", **settings: Any) -> Sequence[Problem]:
    FORMATS[path.suffix](path, rows)
    return load_task({"name": f"file:{path}", **settings}).load_problems(split)


@pytest.mark.parametrize("ending", FORMATS)
def test_plain_columns_in_every_format(tmp_path: Path, ending: str) -> None:
    found = problems(tmp_path / f"rows{ending}", PLAIN)
    assert [(p.id, p.question, p.reference) for p in found] == [
        ("0", PLAIN[0]["question"], "2"),
        ("1", PLAIN[1]["question"], "[1,2]"),
    ]


@pytest.mark.parametrize("ending", FORMATS)
def test_verls_schema_in_every_format(tmp_path: Path, ending: str) -> None:
    found = problems(tmp_path / f"rows{ending}", VERL)
    assert [(p.id, p.question, p.reference, p.messages) for p in found] == [
        (f"{10 + n}", f"What is {n}+{n}?", f"{2 * n}", ()) for n in range(3)
    ]
    assert found[0].metadata == {"data_source": "MATH", "extra_info": {"index": 10, "split": "train"}}


@pytest.mark.parametrize(
    ("truth", "reference"),
    [
        ("42", "42"),
        (42, "42"),
        (42.0, "42"),
        (0.5, "0.5"),
        ({"target": "7"}, "7"),
        ({"answer": 7}, "7"),
        ('{"target": "7"}', "7"),
        (["7"], "7"),
        ({"target": r"\pia", "solution": r"so $\boxed{\pi a}$"}, r"\pi a"),
        ({"target": "7", "solution": "no box"}, "7"),
        (r"Because ... $\boxed{9}$", "9"),
        ("6 + 6 = 12\n#### 12", "12"),
        ("{3}", "{3}"),
        ('{"x": 1}', '{"x": 1}'),
    ],
)
def test_forms_of_the_ground_truth(tmp_path: Path, truth: Any, reference: str) -> None:
    (found,) = problems(tmp_path / "rows.jsonl", [{**VERL[0], "reward_model": {"ground_truth": truth}}])
    assert found.reference == reference


@pytest.mark.parametrize(
    ("question", "reference"),
    [
        ("question", "answer"),
        ("problem", "solution"),
        ("prompt", "ground_truth"),
        ("query", "target"),
        ("input", "reference"),
    ],
)
def test_usual_names_are_recognised(tmp_path: Path, question: str, reference: str) -> None:
    (found,) = problems(tmp_path / "rows.jsonl", [{"other": 1, question: "q", reference: "7"}])
    assert (found.question, found.reference) == ("q", "7")


def test_columns_can_be_named_and_reach_into_tables(tmp_path: Path) -> None:
    row = {"question": "not this", "text": {"body": "this"}, "answer": "1", "label": "2", "key": "a7"}
    path = tmp_path / "rows.jsonl"
    (found,) = problems(path, [row], question="text.body", reference="label", id="key")
    assert (found.id, found.question, found.reference) == ("a7", "this", "2")


def test_template_and_system_apply_to_all_rows_alike(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes?"}]
    asked = {"role": "user", "content": "1+1?"}
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"prompt": p, "answer": "2"} for p in ([*chat, asked], [asked], "1+1?")])
    task = load_task({"name": f"file:{path}", "prompt": "Q: {question} {}", "system": "S"})
    longer, single, text = task.load_problems("train")
    assert longer.question == single.question == text.question == "1+1?"
    assert task.messages(single) == task.messages(text) == (Message("system", "S"), Message("user", "Q: 1+1? {}"))
    first, *turns = task.messages(longer)
    assert first == Message("system", "S")
    assert [turn.content for turn in turns] == ["hi", "yes?", "Q: 1+1? {}"]


def test_two_system_messages_are_refused(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?"}]
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"prompt": chat[1:], "answer": "2"}, {"prompt": chat, "answer": "2"}])
    task = load_task({"name": f"file:{path}", "prompt": "{question}"})
    assert task.messages(task.load_problems("train")[1]) == (Message("system", "Be brief."), Message("user", "1+1?"))
    with pytest.raises(DataError, match=r"row 2: 'prompt' has a system message, and \[task\] system is set") as error:
        load_task({"name": f"file:{path}", "system": "S"}).load_problems("train")
    assert "\n" not in str(error.value)


def test_a_final_assistant_message_is_refused_or_continued(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "<think>"}]
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"prompt": chat[:1], "answer": "2"}, {"prompt": chat, "answer": "2"}])
    with pytest.raises(DataError, match=r"row 2: 'prompt' ends with an assistant message.*continue_final_message"):
        load_task({"name": f"file:{path}"}).load_problems("train")
    task = load_task({"name": f"file:{path}", "prompt": "{question}", "continue_final_message": True})
    first, second = task.load_problems("train")
    assert task.messages(second) == (*task.messages(first), Message("assistant", "<think>"))


@pytest.mark.parametrize(
    "prompt", ["", "Solve it.", "{Question}", "{ question }", "{problem}", "{}", "%s", "Q: {{question}}"]
)
@pytest.mark.parametrize("name", ["file:x.jsonl", "countdown", "math500", "gym:gcd"])
def test_a_prompt_without_the_question_is_one_line(name: str, prompt: str) -> None:
    with pytest.raises(ConfigError, match=r"^'prompt': must contain \{question\}") as error:
        load_task({"name": name, "prompt": prompt})
    assert "\n" not in str(error.value)


def test_a_system_message_with_the_question_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^'system': must not contain \{question\}"):
        load_task({"name": "countdown", "system": "Answer {question}"})


@pytest.mark.parametrize("name", ["data/x.jsonl", "x.parquet", "./x.csv", "x.JSON", "/data/rows"])
def test_a_path_without_file_is_told(name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown task '{name}'; for problems from a file write 'file:{name}'"):
        load_task({"name": name})


def test_a_reference_that_is_text_gets_both_pieces_of_advice(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"question": "Who?", "answer": "\\frac{1}{"}])
    with pytest.raises(DataError, match=r"\(grader = 'exact' compares text; unreadable_references = 'leave_out'"):
        load_task({"name": f"file:{path}"}).load_problems("train")
    assert load_task({"name": f"file:{path}", "grader": "exact"}).load_problems("train")[0].reference == "\\frac{1}{"


def test_a_second_file_for_the_test_split(tmp_path: Path) -> None:
    write_csv(tmp_path / "test.csv", [{"question": "t", "answer": "9"}])
    path = tmp_path / "rows.jsonl"
    assert [p.reference for p in problems(path, PLAIN, "test")] == ["2", "[1,2]"]
    assert [p.reference for p in problems(path, PLAIN, "test", test=str(tmp_path / "test.csv"))] == ["9"]
    assert [p.reference for p in problems(path, PLAIN, "train", test=str(tmp_path / "test.csv"))] == ["2", "[1,2]"]


def test_ids_are_unique_or_an_error(tmp_path: Path) -> None:
    rows = [{"id": name, "question": "q", "answer": "1"} for name in ("a", "b", "a")]
    path = tmp_path / "rows.jsonl"
    assert [p.id for p in problems(path, rows[:2])] == ["a", "b"]
    for row, index in zip(rows, "bcd", strict=True):
        row["index"] = index
    assert [p.id for p in problems(path, rows)] == ["b", "c", "d"]  # the next column whose ids are unique
    rows[2]["index"] = "b"
    with pytest.raises(DataError, match="rows 1 and 3 have the same 'id', 'a'; name another column with id, or number"):
        problems(path, rows)
    assert [p.id for p in problems(path, rows, id="#")] == ["0", "1", "2"]
    assert [p.id for p in problems(path, [{**row, "id": None, "index": ""} for row in rows])] == ["0", "1", "2"]
    with pytest.raises(DataError, match="row 2: the id 'id' is None"):
        problems(path, [rows[0], {"question": "q", "answer": "1"}, rows[2]])
    with pytest.raises(DataError, match="rows 1 and 3 have the same 'id', 'a'"):
        problems(path, rows, id="id")
    with pytest.raises(DataError, match="row 1: 'key' is missing or empty"):
        problems(path, rows, id="key")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"a": "1", "b": "2"}], 'no column for the question, found: a, b; name it with question = "COLUMN"'),
        ([{"question": "1", "b": "2"}], "no column for the reference, found: question, b; name it with reference ="),
        ([{}], "no column for the question, found: none"),
        ([PLAIN[0], {"question": "q"}], "row 2: 'answer' is missing or empty"),
        ([PLAIN[0], {"question": "q", "answer": "  "}], "row 2: 'answer' is missing or empty"),
        ([PLAIN[0], {"question": "", "answer": "1"}], "row 2: 'question' is missing or empty"),
        ([PLAIN[0], {"question": 3.5, "answer": [1, 2]}], "row 2: 'answer' must be text, got list"),
        ([PLAIN[0], {"question": "q", "answer": True}], "row 2: 'answer' must be text, got bool"),
        (
            [{"problem": "q", "solution": "word " * 100}],
            "row 1: 'solution' has no answer in a \\boxed, after ####, or alone",
        ),
        ([{"prompt": [{"role": "assistant", "content": "x"}], "answer": "1"}], "holds no message of the role 'user'"),
        ([{"prompt": [{"role": "user"}], "answer": "1"}], "row 1: 'prompt' is missing or empty"),
        ([{"prompt": ["x"], "answer": "1"}], "must be text or a list of messages with 'role' and 'content'"),
    ],
)
def test_rows_that_cannot_be_used(tmp_path: Path, rows: Rows, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(DataError) as caught:
        problems(path, rows)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_named_column_must_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'gold' for the reference, found: question, answer"):
        problems(tmp_path / "rows.jsonl", PLAIN, reference="gold")


def test_a_few_rows_without_an_answer_in_a_large_file_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"question": "q", "answer": str(n)} for n in range(200)]
    rows[7]["answer"] = rows[9]["answer"] = ""
    found = problems(tmp_path / "rows.jsonl", rows)
    assert [p.id for p in found[5:9]] == ["5", "6", "8", "10"]
    assert "2 of 200 rows are left out; the first: " in caplog.text
    rows[11]["answer"] = ""
    with pytest.raises(DataError, match="row 8: 'answer' is missing or empty"):
        problems(tmp_path / "rows.jsonl", rows)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", b"", "holds no rows"),
        ("rows.jsonl", b"\n \n", "holds no rows"),
        ("rows.json", b"[]", "holds no rows"),
        ("rows.jsonl", b'{"question": 1}\n\n{"question": \n', "line 3: not JSON (Expecting value at column"),
        ("rows.jsonl", b"[1, 2]\n", "line 1: expected an object with named columns, got list"),
        ("rows.json", b"[3]", "row 1: expected an object with named columns, got int"),
        ("rows.jsonl", b"[" * 100_000, "nested too deep"),
        ("rows.jsonl", b'{"question": "\xff"}', "not UTF-8 text (byte 14)"),
        ("rows.csv", b"", "holds no rows"),
        ("rows.csv", b"question,answer\n", "holds no rows"),
        ("rows.csv", b"question,answer\nq\n", "row 1: 1 cells under 2 column names"),
        ("rows.csv", b"question,answer\nq,1,2\n", "row 1: 3 cells under 2 column names"),
        ("rows.csv", b"answer,answer\nq,1\n", "two columns have the same name"),
        ("rows.csv", b'question,answer\n"q"x,1\n', "line 2: not CSV"),
        ("rows.parquet", b"", "not a parquet file"),
        ("rows.parquet", b"PAR1 nothing like it PAR1", "not a parquet file"),
        ("rows.txt", b"x", "unknown ending '.txt', allowed: .jsonl, .json, .parquet, .csv"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_task({"name": f"file:{path}"}).load_problems("train")
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load_task({"name": f"file:{tmp_path / 'rows.jsonl'}"}).load_problems("train")
    with pytest.raises(DataError, match=r"is a folder, expected a file ending in \.jsonl"):
        load_task({"name": f"file:{tmp_path}"}).load_problems("train")
    locked = tmp_path / "a\0b.jsonl"
    with pytest.raises(DataError, match="no such file"):
        load_task({"name": f"file:{locked}"}).load_problems("train")


def test_json_arrays_byte_order_marks_and_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "array.json").write_text(json.dumps(PLAIN, indent=1))
    assert read_rows(tmp_path / "array.json") == PLAIN
    (tmp_path / "lines.json").write_text('{"question": "q"}\n{"question": "r"}')
    assert read_rows(tmp_path / "lines.json") == [{"question": "q"}, {"question": "r"}]
    (tmp_path / "dos.jsonl").write_bytes(b'\xef\xbb\xbf{"question": "q"}\r\n{"question": "r"}\r\n')
    assert read_rows(tmp_path / "dos.jsonl") == [{"question": "q"}, {"question": "r"}]
    (tmp_path / "dos.CSV").write_bytes(b'\xef\xbb\xbfquestion,answer\r\n"q\r\nr",1\r\n\r\n')
    assert read_rows(tmp_path / "dos.CSV") == [{"question": "q\r\nr", "answer": "1"}]


@pytest.mark.parametrize(
    ("completion", "status"),
    [
        ("Paris", "correct"),
        (" Paris \n", "correct"),
        (r"It is \boxed{Paris}", "correct"),
        ("It is Paris", "wrong"),
        ("paris", "wrong"),
        (r"\boxed{Rome} Paris", "wrong"),
        ("  ", "no_answer"),
    ],
)
def test_exact_text(completion: str, status: str) -> None:
    task = load_task({"name": "file:rows.jsonl", "grader": "exact", "max_reward": 3.0})
    (grade,) = task.grade_many([(Problem("0", "Capital of France?", "Paris"), completion)])
    assert grade.status == status
    assert grade.reward == (3.0 if status == "correct" else 0.0)


def test_exact_references_are_taken_as_they_are(tmp_path: Path) -> None:
    rows = [{"question": "q", "answer": " a #### b "}]
    assert problems(tmp_path / "rows.jsonl", rows, grader="exact")[0].reference == "a #### b"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "file:"}, "'name': must be file:PATH"),
        ({"name": "file"}, "'name': must be file:PATH"),
        (
            {"name": "file:x.csv", "grader": "eval"},
            "'grader': must be strict, math-verify, reference, exact, choice",
        ),
        ({"name": "file:x.csv", "refrence": "a"}, "unknown key 'refrence'; did you mean 'reference'?"),
    ],
)
def test_wrong_settings(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_task(table)
    assert message in str(caught.value)
