"""Custom graders of the user's own, well-behaved and not, in the pool that runs them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ngrpo.errors import ConfigError, GradingError
from ngrpo.grading import GraderPool
from ngrpo.grading.custom_graders import custom_grade, load_custom_grader
from ngrpo.grading.exact_and_choice import choice_answer, letter_of
from ngrpo.grading.graders import checked_grader
from ngrpo.tasks import load_task
from ngrpo.types import Grade
from tests.busy import slowdown

MODULE = r"""
import ctypes, os, sys, time
from ngrpo.types import Grade
print("printed while it is imported")

def judge(completion, reference):
    print("printed", completion)
    print("printed", completion, file=sys.stderr)
    os.write(1, b"written\n" * 50)
    if completion == "raise": raise ValueError("what the custom grader says")
    if completion == "exit": sys.exit(3)
    if completion == "interrupt": raise KeyboardInterrupt
    if completion == "hang": time.sleep(1e6)
    if completion == "spin":
        while True: pass
    if completion == "allocate": return bytearray(64 << 30)
    if completion == "grow":
        held = []
        while True: held.append(bytearray(64 << 20))
    if completion == "_exit": os._exit(0)
    if completion == "segfault": ctypes.string_at(0)
    if completion == "half": return 0.5
    if completion == "none": return None
    if completion == "nan": return float("nan")
    if completion == "much": return 7
    if completion == "text": return "correct"
    if completion == "grade": return Grade("no_answer", 0.0, "its answer", "its reason")
    return completion == reference

def told(completion, reference, metadata):
    return metadata["wanted"] == completion and metadata["question"] == "?"

def optional(completion, reference, tolerance=0.5, metadata=None):
    return tolerance == 0.5 and completion == reference

class Space:
    @staticmethod
    def judge(completion, reference):
        return True

NUMBER = 3
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_grader.py").write_text(MODULE)
    (tmp_path / "broken_grader.py").write_text("import sys\nsys.exit(3)")
    monkeypatch.chdir(tmp_path)


BEHAVIOUR = {
    "good": ("correct", 1.0, "custom grader"),
    "raise": ("ungraded", 0.0, "grader raised ValueError: what the custom grader says"),
    "exit": ("ungraded", 0.0, "grader raised SystemExit: 3"),
    "interrupt": ("ungraded", 0.0, "grader raised KeyboardInterrupt: "),
    "hang": ("ungraded", 0.0, "timeout"),
    "spin": ("ungraded", 0.0, "timeout"),
    "allocate": ("ungraded", 0.0, "memory"),
    "grow": ("ungraded", 0.0, "memory"),
    "_exit": ("ungraded", 0.0, "crash"),
    "segfault": ("ungraded", 0.0, "crash"),
    "half": ("wrong", 0.5, "custom grader"),
    "none": ("ungraded", 0.0, "grader returned None"),
    "nan": ("ungraded", 0.0, "grader returned nan, allowed: 0 to 1"),
    "much": ("ungraded", 0.0, "grader returned 7, allowed: 0 to 1"),
    "text": ("ungraded", 0.0, "grader returned 'correct', allowed: 0 to 1"),
    "grade": ("no_answer", 0.0, "its reason"),
    "bad": ("wrong", 0.0, "custom grader"),
}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_batch_completes_whatever_the_custom_grader_does_to_a_pair(workers: int) -> None:
    kinds = [kind for kind in BEHAVIOUR for _ in range(2)] + ["good", "bad"] * 20
    with GraderPool(workers, 1.0, "my_grader:judge", memory_gib=0.3) as pool:
        grades = pool.grade_many([(kind, "good") for kind in kinds])
        processes = [worker._process.pid for worker in pool._workers if worker._process]
    expected = [BEHAVIOUR[kind] for kind in kinds]
    assert [(grade.status, grade.reward, grade.reason) for grade in grades] == expected
    assert grades[kinds.index("grade")].answer == "its answer"
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.killpg(process, 0)


def test_a_custom_grader_that_sleeps_is_stopped_at_its_deadline() -> None:
    with GraderPool(1, 0.5, "my_grader:judge") as pool:
        pool.start()
        started, slow = time.monotonic(), slowdown()
        assert pool.grade_many([("hang", "")])[0].reason == "timeout"
        assert 0.5 <= time.monotonic() - started < 1.5 * max(slow, slowdown())


def test_the_metadata_goes_where_the_signature_wants_it() -> None:
    told = [{"wanted": "a", "question": "?"}, {"wanted": Path("b"), "question": "?"}, {"question": "?"}]
    pairs = [("a", ""), ("b", ""), ("c", "")]
    with GraderPool(grader="my_grader:told") as pool:
        grades = pool.grade_many(pairs, told)
    assert [(g.status, g.reason) for g in grades[:2]] == [("correct", "custom grader")] * 2
    assert grades[2].reason == "grader raised KeyError: 'wanted'"
    for name in ("optional", "Space.judge"):
        with GraderPool(grader=f"my_grader:{name}") as pool:
            assert pool.grade_many([("a", "a")])[0].status == "correct"


@pytest.mark.parametrize(
    ("grader", "message"),
    [
        ("no_such_module:f", "no_such_module:f cannot be loaded: ModuleNotFoundError: No module named"),
        ("my_grader:missing", "AttributeError: module 'my_grader' has no attribute 'missing'"),
        ("my_grader:NUMBER", "TypeError: my_grader:NUMBER is not a function"),
        ("broken_grader:f", "broken_grader:f cannot be loaded: SystemExit: 3"),
    ],
)
def test_a_custom_grader_that_cannot_be_loaded_is_one_line(grader: str, message: str) -> None:
    with GraderPool(grader=grader) as pool, pytest.raises(GradingError, match=message):
        pool.start()
    table = {"name": "file:x.jsonl", "grader": grader}
    with pytest.raises(GradingError, match=message):
        load_task(table).check_grader()


@pytest.mark.parametrize("grader", ["", "lax", "module:", ":function", "a b:c", "os:system('x')", "a/b:c"])
def test_what_is_no_policy_is_refused(grader: str) -> None:
    with pytest.raises(ConfigError, match="grader must be one of"):
        checked_grader(grader)


def test_partial_credit_is_scaled_by_nothing_and_true_is_the_best_reward(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("question,answer\n?,good\n")
    task = load_task({"name": "file:rows.csv", "grader": "my_grader:judge", "max_reward": 2.0})
    (problem,) = task.problems("train")
    grades = task.grade_many([(problem, text) for text in ("good", "half", "bad")])
    assert [(grade.status, grade.reward) for grade in grades] == [("correct", 2.0), ("wrong", 0.5), ("wrong", 0.0)]


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (True, Grade("correct", 2.0, reason="custom grader")),
        (np.bool_(False), Grade("wrong", 0.0, reason="custom grader")),
        (np.float32(0.25), Grade("wrong", 0.25, reason="custom grader")),
        (2, Grade("correct", 2.0, reason="custom grader")),
        (0, Grade("wrong", 0.0, reason="custom grader")),
        (Grade("correct", 2.0, "a"), Grade("correct", 2.0, "a", "custom grader")),
        (Grade("ungraded", 0.0, None, "no server"), Grade("ungraded", 0.0, reason="no server")),
    ],
)
def test_what_a_custom_grader_may_return(returned: Any, expected: Grade) -> None:
    assert custom_grade(returned, 2.0) == expected


@pytest.mark.parametrize(
    "returned", [-0.1, 2.1, float("inf"), [1.0], {"score": 1.0}, np.ones(2), Grade("correct", 9.0)]
)
def test_anything_else_is_ungraded(returned: Any) -> None:
    found = custom_grade(returned, 2.0)
    assert found.status == "ungraded"
    assert found.reason.startswith("grader returned")


def test_reasoning_gym_scores_its_own_data_set() -> None:
    reasoning_gym = pytest.importorskip("reasoning_gym", reason="the extra gym is not installed")
    entries = list(reasoning_gym.create_dataset("chain_sum", size=3, seed=1))
    pairs = [(f"I think \\boxed{{{entry['answer']}}}", entry["answer"]) for entry in entries]
    pairs += [("<answer>0.123</answer>", entry["answer"]) for entry in entries]
    with GraderPool(grader="reasoning-gym", timeout_seconds=10.0, memory_gib=8.0) as pool:
        grades = pool.grade_many(pairs, [entry["metadata"] for entry in entries] * 2)
    assert [grade.status for grade in grades] == ["correct"] * 3 + ["wrong"] * 3
    assert (
        load_custom_grader("reasoning-gym", 2.0)(entries[0]["answer"], entries[0]["answer"], entries[0]["metadata"])
        == 2
    )


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("(b)", "B"),
        ("B.", "B"),
        ("B: Paris", "B"),
        ("(C) 12", "C"),
        (r"\text{(D)}", "D"),
        ("$A$", "A"),
        ("Because", None),
        ("12", None),
        ("", None),
        ("A and B", None),
        (r"\textbf{A}", "A"),
        ("B C", None),
    ],
)
def test_letters_of_choices(text: str, letter: str | None) -> None:
    assert letter_of(text) == letter


def test_choices_are_read_from_boxes_markers_and_bare_letters() -> None:
    found = [choice_answer(text) for text in (r"so \boxed{\text{(B)}}", "The answer is C.", "d", "It is B I think")]
    assert found == ["B", "C", "D", None]
    with GraderPool(grader="choice") as pool:
        statuses = [g.status for g in pool.grade_many([(r"\boxed{B}", "(B)"), (r"\boxed{C}", "B"), ("?", "B")])]
        assert statuses == ["correct", "wrong", "no_answer"]
        assert pool.grade_many([("B", "Paris")])[0].status == "ungraded"
