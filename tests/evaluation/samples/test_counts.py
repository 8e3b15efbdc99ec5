"""Counts: the formats give the same, and no wrong file gives a number."""

import json
from pathlib import Path
from typing import Any

import pytest

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.samples.counts import read_counts
from ngrpo.evaluation.samples.entry import Choices
from ngrpo.evaluation.samples.sample import Sample
from ngrpo.storage import append_json_lines
from ngrpo.types import Status


def sample(problem_id: str = "p", index: int = 0, status: Status = "wrong") -> Sample:
    return Sample(problem_id, index, "3 5 +", "8", "8", status, float(status == "correct"), 4)


def row(**changes: Any) -> str:
    return json.dumps({"problem_id": "p", "sample": 0, "status": "wrong"} | changes)


def reference_row(**changes: Any) -> str:
    return json.dumps({"question_id": 0, "generation_id": 0, "label": False} | changes)


def append(path: Path, samples: list[Sample]) -> None:
    append_json_lines(path, [sample.to_line() for sample in samples])


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return path


def test_counts_tell_the_four_verdicts_apart(tmp_path: Path) -> None:
    statuses: list[Status] = ["correct", "wrong", "no_answer", "ungraded"]
    path = tmp_path / "samples.jsonl"
    append(path, [sample("b", index, status) for index, status in enumerate(statuses)])
    append(path, [sample("a", index, "correct") for index in reversed(range(4))])
    counts = read_counts(path)
    assert counts.problem_ids == ("b", "a")
    assert counts.n.tolist() == [3, 4]
    assert counts.c.tolist() == [1, 4]
    assert counts.ungraded.tolist() == [1, 0]


def test_three_formats_give_the_same_counts(tmp_path: Path) -> None:
    correct = {0: {1}, 1: {0, 2}}
    ours, theirs, csv_counts = (tmp_path / name for name in ("ours", "theirs", "counts"))
    pairs = [(problem, index) for index in range(3) for problem in correct]
    append(ours, [sample(str(p), i, "correct" if i in correct[p] else "wrong") for p, i in pairs])
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
        (row(), r"duplicate sample 0 of problem 'p' \(lines 1 and 2\)"),
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
        (reference_row(), r"duplicate sample 0 of problem '0' \(lines 1 and 2\)"),
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
        ('{"id": 3}', "no column of verdicts, found: "),
        ("name,n,c\np,1,1", "no column of problem ids, found: name, n, c; name it with --id"),
        ("[1, 2]", "is a JSON array, but not of objects"),
        ("problem_id,n,c\n", "is empty: it holds no samples"),
        ("problem_id,n,c\np,1,2", "line 2: c = 2 is larger than n = 1"),
        ("problem_id,n,c\np,1.5,1", "line 2: n must be a whole number >= 0, got '1.5'"),
        ("problem_id,n,c\np,-1,1", "line 2: n must be a whole number >= 0, got '-1'"),
        ("problem_id,n,c\np,1_0,1", "line 2: n must be a whole number"),
        ("problem_id,n,c\np,²,1", "line 2: n must be a whole number"),
        ("problem_id,n,c\np,4", "line 2: 2 cells under 3 column names"),
        ("problem_id,n,c\n,4,1", "line 2: the id 'problem_id' is empty"),
        ("problem_id,n,c\np,4,1\np,4,1", r"duplicate problem 'p' \(line 2 and line 3\)"),
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


def test_seeds_stand_in_one_file(tmp_path: Path) -> None:
    lines = [row(sample=index, seed=seed, status="correct") for seed in (0, 7) for index in range(3)]
    counts = read_counts(written(tmp_path, *lines))
    assert (counts.n.tolist(), counts.c.tolist()) == ([6], [6])
    assert read_counts(written(tmp_path, row(), row(seed=7), row(sample=1, seed=None))).n.tolist() == [3]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([row(seed=7), row(), row(seed=7)], r"duplicate sample 0 of problem 'p' with seed 7 \(lines 1 and 3\)"),
        ([row(seed=7), row(seed=7, sample=2), row(sample=0)], "sample 1 of problem 'p' with seed 7 is missing"),
        ([row(), row(seed=0)], "duplicate sample 0 of problem 'p'"),
        ([row(seed="1")], "line 1: seed must be a whole number >= 0, got '1'"),
        ([row(seed=-1)], "line 1: seed must be a whole number >= 0, got -1"),
        ([row(step=1), row(step=2, sample=1)], r" holds 2 training steps \(1, 2\), so several policies"),
        ([row(), row(step=2, sample=1)], r" holds 2 training steps \(none, 2\)"),
        ([row(step=i, sample=i) for i in range(7)], r"holds 7 training steps \(0, 1, 2, 3, 4, \.\.\.\)"),
        ([row(step="1")], "line 1: step must be a whole number, got '1'"),
    ],
)
def test_seeds_and_steps_are_checked(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_counts(written(tmp_path, *lines))
    assert str(caught.value).startswith(str(tmp_path / "samples.jsonl"))


def test_rollouts_of_one_step_are_counted(tmp_path: Path) -> None:
    assert read_counts(written(tmp_path, row(step=5), row(step=5, sample=1, status="correct"))).c.tolist() == [1]


def test_reasons_for_ungraded_are_counted(tmp_path: Path) -> None:
    lines = [row(sample=index, status="ungraded", reason=reason) for index, reason in enumerate(["timeout", "", 3])]
    lines += [row(sample=3, status="ungraded", reason="timeout"), row(sample=4, reason="number")]
    assert read_counts(written(tmp_path, *lines)).reasons == {"timeout": 2}
    assert read_counts(written(tmp_path, row())).reasons == {}


def test_a_metric_is_for_the_harness_alone(tmp_path: Path) -> None:
    csv_counts = tmp_path / "counts.csv"
    csv_counts.write_text("problem_id,n,c\np,2,1\n")
    for path in (written(tmp_path, row()), csv_counts):
        with pytest.raises(ConfigError, match="--metric is for sample logs of lm-evaluation-harness"):
            read_counts(path, Choices(metric="acc"))
        with pytest.raises(ConfigError, match="--filter is for sample logs"):
            read_counts(path, Choices(filter_name="none"))
