"""Samples files: three formats give the same counts, and no wrong file gives a number."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ngrpo.errors import DataError
from ngrpo.evaluation.samples import Sample, append_samples, read_counts, sample_of
from ngrpo.types import Completion, Grade, Problem, Rollout, Status


def sample(problem_id: str = "p", index: int = 0, status: Status = "wrong") -> Sample:
    return Sample(problem_id, index, "3 5 +", "8", "8", status, float(status == "correct"), 4)


def row(**changes: Any) -> str:
    return json.dumps({"problem_id": "p", "sample": 0, "status": "wrong"} | changes)


def reference_row(**changes: Any) -> str:
    return json.dumps({"question_id": 0, "generation_id": 0, "label": False} | changes)


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return path


def test_a_sample_carries_the_keys_other_tools_rely_on(tmp_path: Path) -> None:
    problem = Problem("amc-3", "2 + 2?", "4")
    completion = Completion("It is\n4²", np.array([5, 6, 7]), np.zeros(3, np.float32), "stop")
    rollout = Rollout(problem, 2, completion, Grade("correct", 1.0, "4"))
    path = tmp_path / "samples.jsonl"
    append_samples(path, [sample_of(rollout)])
    assert json.loads(path.read_text()) == {
        "problem_id": "amc-3",
        "sample": 2,
        "completion": "It is\n4²",
        "answer": "4",
        "reference": "4",
        "status": "correct",
        "reward": 1.0,
        "num_tokens": 3,
    }


def test_appending_gives_the_bytes_of_writing_at_once(tmp_path: Path) -> None:
    samples = [sample(index=index) for index in range(4)]
    append_samples(tmp_path / "at_once", samples)
    append_samples(tmp_path / "in_parts", samples[:3])
    append_samples(tmp_path / "in_parts", samples[3:])
    assert (tmp_path / "at_once").read_bytes() == (tmp_path / "in_parts").read_bytes()


def test_counts_tell_the_four_verdicts_apart(tmp_path: Path) -> None:
    statuses: list[Status] = ["correct", "wrong", "no_answer", "ungraded"]
    path = tmp_path / "samples.jsonl"
    append_samples(path, [sample("b", index, status) for index, status in enumerate(statuses)])
    append_samples(path, [sample("a", index, "correct") for index in reversed(range(4))])
    counts = read_counts(path)
    assert counts.problem_ids == ("b", "a")
    assert counts.n.tolist() == [3, 4]
    assert counts.c.tolist() == [1, 4]
    assert counts.ungraded.tolist() == [1, 0]


def test_three_formats_give_the_same_counts(tmp_path: Path) -> None:
    correct = {0: {1}, 1: {0, 2}}
    ours, theirs, csv_counts = (tmp_path / name for name in ("ours", "theirs", "counts"))
    pairs = [(problem, index) for index in range(3) for problem in correct]
    append_samples(ours, [sample(str(p), i, "correct" if i in correct[p] else "wrong") for p, i in pairs])
    theirs.write_text("\n".join(reference_row(question_id=p, generation_id=i, label=i in correct[p]) for p, i in pairs))
    csv_counts.write_text("\ufeffc,problem_id, n,note\r\n1,0, 3,x\r\n2,1,3,\r\n", encoding="utf-8")
    for path in (ours, theirs, csv_counts):
        counts = read_counts(path)
        assert (counts.problem_ids, counts.n.tolist(), counts.c.tolist()) == (("0", "1"), [3, 3], [1, 2])
        assert counts.ungraded.tolist() == [0, 0]


def test_empty_lines_are_no_samples(tmp_path: Path) -> None:
    assert read_counts(written(tmp_path, "", row(), "  ", row(sample=1))).n.tolist() == [2]


def test_the_reference_file_may_number_its_samples_as_it_likes(tmp_path: Path) -> None:
    path = written(tmp_path, reference_row(generation_id=7, label=1), reference_row(generation_id=3, label=0))
    assert read_counts(path).n.tolist() == [2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON$"),
        ("[" * 100_000, "line 2: not JSON$"),
        ("[1]", "line 2: expected a JSON object"),
        (row(status="right"), "line 2: status 'right' is none of correct, wrong, no_answer, ungraded"),
        (row(status=None), "line 2: status None"),
        (row(status=["correct"]), r"line 2: status \['correct'\]"),
        (row(sample=-1), "line 2: sample must be a whole number >= 0, got -1"),
        (row(sample=1.0), "line 2: sample must be a whole number"),
        (row(sample=True), "line 2: sample must be a whole number"),
        (row(sample=2**63), "line 2: sample must be a whole number"),
        (row(problem_id=None), "line 2: the id of a problem must be"),
        (row(problem_id=True), "line 2: the id of a problem must be"),
        ('{"problem_id": "p", "sample": 1}', "line 2: the key 'status' is missing"),
        ('{"problem_id": "p", "status": "wrong"}', "line 2: the key 'sample' is missing"),
        (reference_row(), "line 2: the key 'status' is missing"),
        (row(), "sample 0 of problem 'p' is there twice, in lines 1 and 2"),
        (row(sample=2), "sample 1 of problem 'p' is missing"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path, row(), line)
    with pytest.raises(DataError, match=message) as caught:
        read_counts(path)
    assert "samples.jsonl" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (reference_row(label="true"), "label 'true' is neither true nor false"),
        (reference_row(label=None), "label None"),
        (reference_row(label=2), "label 2"),
        (reference_row(generation_id="0"), "generation_id must be a whole number >= 0, got '0'"),
        (reference_row(), "sample 0 of problem '0' is there twice, in lines 1 and 2"),
    ],
)
def test_a_bad_line_of_the_reference_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_counts(written(tmp_path, reference_row(), line))


def test_a_cut_off_last_line_is_said(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(row() + "\n" + row(sample=1)[:-5])
    with pytest.raises(DataError, match="line 2: not JSON, the line is cut off"):
        read_counts(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty: it holds no samples"),
        ("\n \n", "is empty: it holds no samples"),
        ('{"id": 3}', "line 1: not a line of a samples file: expected the keys problem_id"),
        ("name,n,c\np,1,1", "is neither JSON lines nor CSV with the columns problem_id,n,c"),
        ("[1, 2]", "is neither JSON lines nor CSV"),
        ("problem_id,n,c\n", "is empty: it holds no problems"),
        ("problem_id,n,c\np,1,2", "line 2: c = 2 is larger than n = 1"),
        ("problem_id,n,c\np,1.5,1", "line 2: n must be a whole number >= 0, got '1.5'"),
        ("problem_id,n,c\np,-1,1", "line 2: n must be a whole number >= 0, got '-1'"),
        ("problem_id,n,c\np,1_0,1", "line 2: n must be a whole number"),
        ("problem_id,n,c\np,²,1", "line 2: n must be a whole number"),
        ("problem_id,n,c\np,4", "line 2: c must be a whole number >= 0, got ''"),
        ("problem_id,n,c\n,4,1", "line 2: the problem_id is empty"),
        ("problem_id,n,c\np,4,1\np,4,1", "line 3: problem 'p' is there twice"),
        ('problem_id,n,c\n"p,4,1', "not CSV"),
        (f"problem_id,n,c\np,{10**30},1", "line 2: n must be a whole number"),
    ],
)
def test_a_file_that_cannot_be_counted_is_said(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "file"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        read_counts(path)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_said(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        read_counts(path)


def test_a_missing_file_and_a_folder_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*missing: No such file"):
        read_counts(tmp_path / "missing")
    with pytest.raises(DataError, match="Is a directory"):
        read_counts(tmp_path)
