from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ngrpo.errors import ConfigError, DataError
from ngrpo.grading import shared_pool
from ngrpo.tasks import load_task
from ngrpo.tasks.difficulty import level_of
from ngrpo.tasks.hub_sources import HUB, HubSource
from ngrpo.tasks.math import Math
from ngrpo.types import Message, Problem
from tests.shared import SHARED

DATA = SHARED / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not on this machine")

ROWS = [
    {"problem": "What is 1+1?", "level": "Level 1", "type": "Algebra", "solution": r"It is $\boxed{2}$."},
    {"problem": "What is 2/4?", "level": "Level 5", "type": "Algebra", "solution": r"So \boxed{\frac{1}{2}}"},
    {"problem": "What is 3-1?", "level": "Level ?", "type": "Algebra", "solution": r"$\boxed 2$"},
]


RECOGNISED = ("math", "math500", "amc23", "aime2025")
"""Data sets whose columns are recognised; test_hub_sources.py has those with columns of their own."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Stands in for the `datasets` package; returns what was asked of it."""
    asked: list[tuple[str, str]] = []

    def load_dataset(name: str, *, split: str) -> list[dict[str, Any]]:
        asked.append((name, split))
        if split == "missing":
            raise ConnectionError("Couldn't reach the Hub\nsecond line")
        return ROWS

    class DatasetsError(Exception):
        pass

    package = SimpleNamespace(load_dataset=load_dataset, exceptions=SimpleNamespace(DatasetsError=DatasetsError))
    monkeypatch.setitem(sys.modules, "datasets", package)
    return asked


def test_the_answer_is_the_last_box_of_the_solution(file: Path) -> None:
    problems = load_task({"name": f"math:{file}"}).load_problems("test")
    assert [problem.reference for problem in problems] == ["2", r"\frac{1}{2}", "2"]
    assert [problem.id for problem in problems] == ["0", "1", "2"]
    assert [problem.question for problem in problems] == [row["problem"] for row in ROWS]
    assert problems[1].metadata == {"level": "Level 5", "type": "Algebra"}


def test_the_prompt_asks_for_a_box(file: Path) -> None:
    task = load_task({"name": f"math:{file}"})
    (message,) = task.messages(task.load_problems("test")[0])
    content = "What is 1+1?\nPlease reason step by step, and put your final answer within \\boxed{}."
    assert message == Message("user", content)


def test_levels_choose_problems(file: Path) -> None:
    task = load_task({"name": f"math:{file}", "levels": [2, 5]})
    assert [level_of(problem) for problem in task.load_problems("test")] == [5]
    with pytest.raises(DataError, match="no problem has a level among 2, 3"):
        load_task({"name": f"math:{file}", "levels": [2, 3]}).load_problems("test")


def test_train_and_test_files(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "train.jsonl"
    other.write_text('{"problem": "q", "answer": "7"}\n')
    for table in [
        {"name": f"amc23:{file}", "train": str(other)},
        {"name": "amc23", "test": str(file), "train": str(other)},
    ]:
        task = load_task(table)
        assert [problem.reference for problem in task.load_problems("train")] == ["7"]
        assert len(task.load_problems("test")) == 3


@pytest.mark.parametrize(
    ("name", "split", "source"),
    [(name, split, getattr(HUB[name], split)) for name in RECOGNISED for split in ("train", "test")],
)
def test_without_a_file_the_hub_is_asked(hub: list[tuple[str, str]], name: str, split: Any, source: Any) -> None:
    task = load_task({"name": name})
    if source is None:
        with pytest.raises(DataError, match=f"'{name}' has no training problems; give a local file with train = PATH"):
            task.load_problems(split)
    else:
        assert [problem.reference for problem in task.load_problems(split)] == ["2", r"\frac{1}{2}", "2"]
        assert hub == [source]


def test_a_hub_out_of_reach_is_one_line_that_names_the_way_out(
    hub: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = HubSource(None, ("math-ai/aime25", "missing"))
    monkeypatch.setattr("ngrpo.tasks.math.HUB", {"aime2025": gone})
    with pytest.raises(DataError) as caught:
        load_task({"name": "aime2025"}).load_problems("test")
    assert str(caught.value) == (
        "the dataset math-ai/aime25 (missing) could not be loaded: Couldn't reach the Hub; "
        "a local file can be given with the name 'aime2025:PATH'"
    )


def test_the_real_package_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"math-ai/aime25 \(test\) could not be loaded.*aime2025:PATH") as caught:
        load_task({"name": "aime2025"}).load_problems("test")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "math:"}, "'name': must be one of math, gsm8k, dapo-math-17k, "),
        ({"name": "math", "timeout_seconds": 0}, "'timeout_seconds'"),
        ({"name": "math", "grader_workers": 0}, "'grader_workers'"),
        ({"name": "math", "level": [5]}, "unknown key 'level'; did you mean 'levels'?"),
        (
            {"name": "math:a.jsonl", "test": "b.jsonl"},
            "the test file is given twice: 'a.jsonl' in 'name' and 'b.jsonl'",
        ),
        ({"name": "aime1999"}, "unknown task 'aime1999'"),
    ],
)
def test_wrong_settings(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_task(table)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_grades_in_order_scaled_by_the_maximal_reward() -> None:
    task = load_task({"name": "math", "max_reward": 2.0})
    problem = Problem("0", "q", r"\frac{1}{2}")
    grades = task.grade_many([(problem, r"\boxed{0.5}"), (problem, r"\boxed{2}"), (problem, "0.5")])
    assert [(grade.status, grade.reward) for grade in grades] == [("correct", 2.0), ("wrong", 0.0), ("no_answer", 0.0)]


def test_tasks_share_their_grading_processes(file: Path) -> None:
    problem = Problem("0", "q", r"\int_0^1 x dx")  # one that the parser of `strict` leaves to sympy
    for name in (f"math:{file}", "aime2025", f"file:{file}"):
        assert load_task({"name": name}).grade_many([(problem, r"\boxed{\int_0^1 y dy}")])[0].status == "correct"
    assert shared_pool(1, 2.0)._workers[0]._process is not None


@needs_data
@pytest.mark.parametrize(
    ("name", "count"),
    [("math:math_test", 5000), ("amc23:amc23", 40), ("aime2025:aime2025", 30), ("file:math_test", 5000)],
)
def test_every_reference_of_the_benchmarks_is_accepted(name: str, count: int) -> None:
    kind, _, stem = name.partition(":")
    task = load_task({"name": f"{kind}:{DATA / stem}.parquet"})
    problems = task.load_problems("test")
    assert len(problems) == len({problem.id for problem in problems}) == count
    grades = task.grade_many([(problem, rf"Therefore $\boxed{{{problem.reference}}}$.") for problem in problems])
    assert Counter(grade.status for grade in grades) == {"correct": count}


@needs_data
def test_aime2025_accepts_336_for_336_degrees() -> None:
    task = load_task({"name": f"aime2025:{DATA / 'aime2025.parquet'}"})
    (problem,) = [problem for problem in task.load_problems("test") if "circ" in problem.reference]
    assert problem.reference == r"336^\circ"
    assert [g.status for g in task.grade_many([(problem, r"\boxed{336}"), (problem, r"\boxed{335}")])] == [
        "correct",
        "wrong",
    ]


@needs_data
@pytest.mark.parametrize("kind", ["math", "file"])
def test_math_train_in_verls_schema(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    path = f"{DATA / 'math_train.parquet'}"
    task = load_task({"name": "math", "train": path} if kind == "math" else {"name": f"file:{path}"})
    problems = task.load_problems("train")
    # Two of the 7,500 have an empty box in their solution and no target: nobody can answer them.
    assert len(problems) == len({problem.id for problem in problems}) == 7498
    assert "2 of 7500 rows are left out" in caplog.text
    assert "row 5342" in caplog.text
    by_id = {problem.id: problem for problem in problems}
    assert by_id["0"].question.startswith("Let \\[f(x) = ")
    assert by_id["0"].messages == ()
    # Its target reads \pia^2; the solution still has the answer.
    assert by_id["2741"].reference == r"\pi a^2"
    assert isinstance(task, Math) == (kind == "math")
