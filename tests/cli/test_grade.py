"""`ngrpo grade`: the columns of other people's files, labels, comparisons of graders, and what is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

ROWS: list[dict[str, Any]] = [
    {"completion": r"so $\boxed{0.5}$", "reference": r"\frac12", "correct": True},
    {"completion": r"\boxed{1}", "reference": "100", "correct": False},
    {"completion": "no idea", "reference": "100", "correct": False},
    {"completion": r"\boxed{100}", "reference": "so the answer is $\\boxed{100}$", "correct": True},
]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "rows.jsonl", ROWS)


def test_a_table_of_the_statuses_and_the_labels(run: Any, file: Path) -> None:
    done = run("grade", file)
    assert done.status == 0, done.err
    for row in (["rows", "4"], ["correct", "2"], ["wrong", "1"], ["no_answer", "1"], ["mean", "reward", "0.5000"]):
        assert any(row == line.replace("│", " ").split() for line in done.out.splitlines()), (row, done.out)
    assert "2 of 2" in done.out


def test_json_lists_what_another_policy_sees_otherwise(run: Any, file: Path) -> None:
    found = json.loads(run("grade", file, "--compare", "reference", "--json").out)
    assert (found["grader"], found["compared"]["grader"], found["rows"]) == ("strict", "reference", 4)
    assert found["labels"] == {"accepted_of_correct": [2, 2], "rejected_of_wrong": [2, 2]}
    assert found["compared"]["labels"]["rejected_of_wrong"] == [1, 2]
    assert [(one["row"], one["status"], one["compared_status"]) for one in found["disagreements"]] == [
        (2, "wrong", "correct"),
        (3, "no_answer", "no_answer"),
    ][:1]
    assert (
        "row 2: reference 100, answer 1: wrong (number), reference says correct"
        in run("grade", file, "--compare", "reference").out
    )


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_other_endings_and_other_names_of_columns(run: Any, tmp_path: Path, ending: str) -> None:
    rows = [{"response": r"\boxed{(B)}", "ground_truth": "B"}, {"response": r"\boxed{A}", "ground_truth": "B"}]
    path = tmp_path / f"rows.{ending}"
    if ending == "csv":
        path.write_text("response,ground_truth\n" + "\n".join(f"{r['response']},{r['ground_truth']}" for r in rows))
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    found = json.loads(run("grade", path, "--grader", "choice", "--json").out)
    assert (found["correct"], found["wrong"]) == (1, 1)


def test_a_line_per_row_is_written_and_never_over_another_file(run: Any, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "grades.jsonl"
    assert run("grade", file, "--out", out).status == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line["row"], line["status"], line["reward"]) for line in lines[:2]] == [
        (1, "correct", 1.0),
        (2, "wrong", 0),
    ]
    done = run("grade", file, "--out", out)
    assert (done.status, done.err) == (2, f"ngrpo: {out} exists already: choose another --out, or remove it\n")


def test_a_verifier_and_a_reference_that_nobody_reaches(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "graders.py").write_text("def half(completion, reference):\n    return 0.5\n")
    path = written(
        tmp_path / "rows.jsonl", [{"output": "1", "answer": "2+*3"}, {"output": "1", "answer": "\x1b[31m(("}]
    )
    found = json.loads(run("grade", path, "--grader", "graders:half", "--json").out)
    assert (found["wrong"], found["mean_reward"]) == (2, 0.5)
    done = run("grade", path)
    assert "row 1: no completion can reach the reference 2+*3: its operators or brackets do not match" in done.err
    assert "\x1b" not in done.err
    assert r"\x1b[31m((" in done.err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["missing.jsonl"], 1, "missing.jsonl: no such file"),
        (["rows.jsonl", "--grader", "lax"], 2, "grader must be one of strict"),
        (["rows.jsonl", "--compare", "strict"], 2, "--compare must differ from --grader"),
        (["rows.jsonl", "--timeout", "0"], 2, "--timeout must be above 0"),
        (["rows.jsonl", "--completion", "text"], 1, "no column 'text' for the completion"),
        (["rows.jsonl", "--label", "completion"], 1, "row 1: the label 'completion' must be true or false"),
        (["rows.jsonl", "--grader", "nowhere:f"], 1, "nowhere:f cannot be loaded: ModuleNotFoundError"),
        (["rows.jsonl", "--workers", "0"], 2, "--workers"),
    ],
)
def test_what_is_refused(
    run: Any, file: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int, message: str
) -> None:
    monkeypatch.chdir(file.parent)
    done = run("grade", *arguments)
    assert (done.status, done.err.count("\n")) == (status, 1)
    assert message in done.err


def test_a_row_without_text_names_itself(run: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [*ROWS, {"completion": None, "reference": "1"}])
    assert run("grade", path).err == f"ngrpo: {path}, row 5: 'completion' is missing or empty\n"


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_with_130_and_leaves_no_process(tmp_path: Path, workers: int) -> None:
    hard = [{"completion": rf"\boxed{{(10^{{10}})!+{n}}}", "reference": "x^2+1"} for n in range(200)]
    path = written(tmp_path / "hard.jsonl", hard)
    command = [sys.executable, "-m", "ngrpo", "grade", str(path), "--grader", "math-verify", "--workers", str(workers)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            while len(children := descendants(process.pid)) < 2 * workers:  # each process and the fork in its place
                assert process.poll() is None
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=120)
        finally:
            process.kill()
    assert (process.returncode, err) == (130, "ngrpo: interrupted\n")
    deadline = time.monotonic() + 120
    while not all(map(is_gone, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(map(is_gone, children))


def is_gone(pid: int) -> bool:
    """Whether a process has ended, though it may wait to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    if not children.exists():
        pytest.skip("needs Linux's /proc")
    # A process that several threads start is listed under the thread that did.
    found = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return found + [grandchild for child in found for grandchild in descendants(child)]


def test_lines_of_the_reference_are_read_by_their_columns(run: Any, tmp_path: Path) -> None:
    row = {"prompt": "p", "vanilla_response": "r", "question": "q", "answer": r"\frac12", "question_id": 0}
    row |= {
        "generation_id": 0,
        "response": r"so $\boxed{0.5}$",
        "label": True,
        "gold_answer": "1/2",
        "pred_answer": "0.5",
    }
    other = row | {"generation_id": 1, "response": r"\boxed{2}", "label": False}
    found = json.loads(run("grade", written(tmp_path / "rows.jsonl", [row, other]), "--json").out)
    assert (found["correct"], found["wrong"]) == (1, 1)
    assert found["labels"] == {"accepted_of_correct": [1, 1], "rejected_of_wrong": [1, 1]}


HARNESS = {
    "doc_id": 0,
    "doc": {"question": "How much?", "answer": "9 * 2 = 18\n#### 18"},
    "target": "9 * 2 = $<<9*2=18>>18\n#### 18",
    "arguments": {"gen_args_0": {"arg_0": "Question: How much?\nAnswer:", "arg_1": {"until": ["Question:"]}}},
    "resps": [[r"It is \boxed{18}.", r"It is \boxed{17}.", "I do not know"]],
    "filtered_resps": [["18", "17", "[invalid]"]],
    "filter": "strict-match",
    "metrics": ["exact_match"],
    "exact_match": [1.0, 0.0, 0.0],
}


def test_sample_logs_of_the_harness_have_a_row_per_response(run: Any, tmp_path: Path) -> None:
    other = {**HARNESS, "doc_id": 1, "resps": [[r"\boxed{18}"]], "exact_match": 1.0}
    again = {**HARNESS, "filter": "flexible-extract"}
    path = written(tmp_path / "rows.jsonl", [HARNESS, other, again])
    found = json.loads(run("grade", path, "--label", "exact_match", "--json").out)
    assert [found[key] for key in ("rows", "correct", "wrong", "no_answer")] == [4, 2, 1, 1]
    assert found["labels"] == {"accepted_of_correct": [2, 2], "rejected_of_wrong": [2, 2]}
    assert "'resps' must be text, got list" in run("grade", path, "--completion", "resps").err


@pytest.mark.parametrize(
    ("resps", "message"),
    [
        ([[["-5.25", "False"]], [["-1.5", "True"]]], "row 1: 'resps' must hold the texts that answer one request"),
        ([[["-5.25", "False"]]], "log probabilities of choices cannot be graded"),
        ("text", "row 1: 'resps' must hold the texts"),
        ([[]], "'resps' holds no responses"),
    ],
)
def test_responses_that_are_no_text_are_said(run: Any, tmp_path: Path, resps: Any, message: str) -> None:
    done = run("grade", written(tmp_path / "rows.jsonl", [{**HARNESS, "resps": resps}]))
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert message in done.err


@pytest.mark.parametrize("gts", ["4", 4, ["4"]])
def test_dumps_of_verl_are_read_by_their_columns(run: Any, tmp_path: Path, gts: Any) -> None:
    row = {"input": "user\nWhat is 2+2?\nassistant\n", "output": r"So \boxed{4}.", "gts": gts, "score": 1.0, "step": 20}
    row |= {"reward": 1.0, "acc": True, "pred": "4"}
    rows = [row, row | {"output": r"So \boxed{5}.", "score": -1.0, "reward": -1.0, "acc": False}]
    found = json.loads(run("grade", written(tmp_path / "rows.jsonl", rows), "--json").out)
    assert (found["correct"], found["wrong"]) == (1, 1)
    assert found["labels"] == {"accepted_of_correct": [1, 1], "rejected_of_wrong": [1, 1]}
