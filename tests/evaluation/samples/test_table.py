"""Tables of anybody: columns recognised or named, a row per completion, lists or counts, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.samples.counts import Counts, read_counts
from ngrpo.evaluation.samples.entry import NO_CHOICES, Choices
from ngrpo.evaluation.samples.problem_labels import read_labels
from ngrpo.evaluation.statistics.majority import read_votes

Rows = list[dict[str, Any]]


def counted(tmp_path: Path, rows: Rows, choices: Choices = NO_CHOICES) -> Counts:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return read_counts(path, choices)


def numbers(counts: Counts) -> list[tuple[str, int, int, int]]:
    columns = (counts.n.tolist(), counts.c.tolist(), counts.ungraded.tolist())
    return list(zip(counts.problem_ids, *columns, strict=True))


ROWS: Rows = [{"task": {"name": name}, "try": i, "ok": i == 0} for name in ("a", "b") for i in range(2)]
NAMED = Choices(id="task.name", sample="try", correct="ok")


def test_named_columns_reach_into_objects(tmp_path: Path) -> None:
    counts = counted(tmp_path, ROWS, NAMED)
    assert numbers(counts) == [("a", 2, 1, 0), ("b", 2, 1, 0)]
    assert counts.reading == "columns: id 'task.name', sample 'try', correct 'ok'"


@pytest.mark.parametrize("right", [True, 1, 1.0, "true", "Correct", "pass", "PASSED", "C", "1", "1.0", "yes"])
@pytest.mark.parametrize("wrong", [False, 0, 0.0, "false", "incorrect", "fail", "I", "0", "0.0", "no"])
def test_words_of_right_and_wrong(tmp_path: Path, right: object, wrong: object) -> None:
    rows = [{"id": "p", "correct": value} for value in (right, wrong, wrong, None)]
    assert numbers(counted(tmp_path, rows)) == [("p", 3, 1, 1)]


def test_lists_and_text_of_lists(tmp_path: Path) -> None:
    for cell in ([True, None, False], "[true, null, false]", "[True, None, False]", "['C', '', 'I']", [1, "nan", 0]):
        assert numbers(counted(tmp_path, [{"id": 7, "passed": cell}, {"id": 8, "passed": [1, 1, 1]}])) == [
            ("7", 2, 1, 1),
            ("8", 3, 3, 0),
        ]


@pytest.mark.parametrize("names", [("num_samples", "num_correct"), ("n", "c"), ("total", "correct")])
def test_counts_in_any_form(tmp_path: Path, names: tuple[str, str]) -> None:
    total, correct = names
    rows = [{"task_id": "a", total: 64, correct: 1}, {"task_id": "b", total: 64, correct: 0}]
    assert numbers(counted(tmp_path, rows)) == [("a", 64, 1, 0), ("b", 64, 0, 0)]
    path = tmp_path / "counts.csv"
    path.write_text(f"task_id;{total};{correct}\na;64;1\n")
    assert numbers(read_counts(path)) == [("a", 64, 1, 0)]


@pytest.mark.parametrize(
    "text",
    [
        '{"id": ["a", "a", "b", "b"], "correct": [1, 0, 0, 0]}',
        '{"id": {"0": "a", "1": "a", "2": "b", "3": "b"}, "correct": {"0": 1, "1": 0, "2": 0, "3": 0}}',
        '{"a": [1, 0], "b": [0, 0]}',
        '{"a": {"correct": [true, false]}, "b": {"correct": [false, false]}}',
        '{"model": "m", "results": [{"id": "a", "correct": [1, 0]}, {"id": "b", "correct": [0, 0]}]}',
        '[\n{"id": "a", "correct": 1},{"id": "a", "correct": 0},{"id": "b", "correct": 0},{"id": "b", "correct": 0}]',
        '{\n "a": [1, 0],\n "b": [0, 0]\n}',
        "id,correct\na,1\na,0\nb,0\nb,0\n",
        "id\tcorrect\r\na\t1\r\na\t0\r\nb\t0\r\nb\t0\r\n",
        '{"id": "a", "correct": [1, 0]}\n{"id": "b", "correct": [0, 0]}\n',
    ],
)
def test_the_same_table_in_many_forms(tmp_path: Path, text: str) -> None:
    for content in (text.encode(), gzip.compress(text.encode()), b"\xef\xbb\xbf" + text.encode()):
        path = tmp_path / "table"
        path.write_bytes(content)
        assert numbers(read_counts(path)) == [("a", 2, 1, 0), ("b", 2, 0, 0)]


def test_columns_are_recognised_by_all_rows(tmp_path: Path) -> None:
    rows: Rows = [{"id": "a", "acc": None}, {"id": "a", "acc": 1, "epoch": 3}]
    with pytest.raises(DataError, match="line 1: the sample 'epoch' is 'None', expected a number or text"):
        counted(tmp_path, rows)
    rows[0]["epoch"] = 2
    assert numbers(counted(tmp_path, rows)) == [("a", 1, 1, 1)]
    scored = [{"id": "a", "correct": "the answer is 4", "score": 1}, {"id": "b", "score": 0.0}]
    assert counted(tmp_path, scored).reading.endswith("correct 'score'")


def test_rows_of_one_question_are_one_problem(tmp_path: Path) -> None:
    rows = [{"question": q, "reward": r} for q, r in (("1+1?", 1), ("2+2?", -1), ("1+1?", -1), ("2+2?", -1))]
    counts = counted(tmp_path, rows)
    assert (counts.n.tolist(), counts.c.tolist()) == ([2, 2], [1, 0])
    assert counts.problem_ids[0].endswith(" 1+1?")


def test_labels_and_answers_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,level,passed,extracted_answer\na,3,1,4\na,3,0,5\nb,1,0,\nb,1,0,6\n")
    assert read_labels(path, "level") == {"a": "3", "b": "1"}
    votes = read_votes(path)
    assert (votes["a"].correct, dict(votes["a"].wrong), votes["b"].silent) == (1, {"5": 1}, 1)


REFUSED: list[tuple[Rows, Choices, type[Exception], str]] = [
    (ROWS, Choices(id="nme"), ConfigError, "--id: no column 'nme', found: task, try, ok"),
    (ROWS, NAMED._replace(correct="task.name"), DataError, "line 1: 'task.name' is 'a', expected true or false"),
    ([ROWS[0], ROWS[2], ROWS[0]], NAMED, DataError, r"duplicate sample 0 of problem 'a' \(lines 1 and 3\)"),
    (
        [{"id": "a", "correct": 0.5}, {"id": "a", "reward": 0.2}],
        NO_CHOICES,
        DataError,
        r"no column of verdicts .*'correct' is '0.5' in line 1; 'reward' is '0.2' in line 2; name it with --correct",
    ),
    (
        [{"id": "a", "text": "x"}],
        NO_CHOICES,
        DataError,
        "no column of verdicts, found: id, text; name it",
    ),
    (
        [{"name": "a", "correct": 1}],
        NO_CHOICES,
        DataError,
        "no column of problem ids, found: name",
    ),
    (
        [{"id": "a", "acc": 1, "passed": True}, {"id": "a", "acc": 1, "passed": False}],
        NO_CHOICES,
        DataError,
        "'passed' and 'acc' both hold verdicts and differ in line 2: choose one with --correct",
    ),
    (
        [{"id": i, "question": "q", "correct": 1} for i in range(2)],
        NO_CHOICES,
        DataError,
        "'id' never repeats, but 'question' does: name the problem's column with --id",
    ),
    ([{"id": None, "correct": 1}, {"id": 1, "correct": 1}], NO_CHOICES, DataError, "line 1: the id 'id' is empty"),
    (
        [{"id": 1, "reward": -1}, {"id": 1, "reward": 0}],
        NO_CHOICES,
        DataError,
        "'reward' is 0 in line 2 and -1 in line 1",
    ),
    (
        [{"id": 1, "correct": [1, 0]}, {"id": 1, "correct": [0, 0]}],
        NO_CHOICES,
        DataError,
        r"duplicate problem '1' \(line 1 and line 2\)",
    ),
    ([{"id": 1, "n": 2, "c": 1}, {"id": 1, "n": 2, "c": 1}], NO_CHOICES, DataError, "duplicate problem '1'"),
    ([{"id": 1, "try": 1, "correct": [1]}], Choices(sample="try"), ConfigError, "its order is the sample number"),
]


@pytest.mark.parametrize(("rows", "choices", "error", "message"), REFUSED)
def test_a_doubtful_table_is_refused(
    tmp_path: Path, rows: Rows, choices: Choices, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        counted(tmp_path, rows, choices)
    assert "rows.jsonl" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_integer_of_many_digits_is_one_line(tmp_path: Path) -> None:
    for text in ('{"id": 1, "correct": %s}', '[{"id": 1, "correct": %s}]'):
        path = tmp_path / "long.json"
        path.write_text(text % ("7" * 5000))
        with pytest.raises(DataError, match="an integer of more than 4,300 digits"):
            read_counts(path)
