"""Every named data set, on rows of the columns that its authors publish."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ngrpo.errors import ConfigError, DataError
from ngrpo.tasks import load_task
from ngrpo.tasks.difficulty import solve_rate_of
from ngrpo.tasks.hub_sources import HUB
from ngrpo.types import Problem

INSTRUCTION = (
    'The last line of your response should be of the form Answer: $Answer.\n\nWhat is 6 * 7?\n\nRemember "Answer:".'
)
DAPO = {
    "data_source": "math_dapo",
    "prompt": [{"role": "user", "content": INSTRUCTION}],
    "ability": "MATH",
    "reward_model": {"ground_truth": "42", "style": "rule-lighteval/MATH_v2"},
    "extra_info": {"index": "9a9b6eb4-a1cb-49d1-8c1e-62eaf2f74079"},
}
ARENA: dict[str, Any] = {"problem_idx": 7, "problem": "What is 6 * 7?", "answer": "42", "problem_type": ["Algebra"]}
ROWS: dict[str, dict[str, Any]] = {
    "math": {"problem": "What is 6 * 7?", "level": "Level 1", "type": "Algebra", "solution": r"It is $\boxed{42}$."},
    "gsm8k": {"question": "What is 6 * 7?", "answer": "6 * 7 = <<6*7=42>>42\n#### 42"},
    "dapo-math-17k": DAPO,
    "deepscaler": {"problem": "What is 6 * 7?", "answer": "42", "solution": ""},
    "big-math": {
        "problem": "What is 6 * 7?",
        "answer": "42",
        "source": "orca_math",
        "domain": ["Mathematics -> Algebra -> Other"],
        "llama8b_solve_rate": 0.140625,
    },
    "polaris-53k": {"problem": "What is 6 * 7?", "answer": "42", "difficulty": "3/8"},
    "deepmath-103k": {
        "question": "What is 6 * 7?",
        "final_answer": "42",
        "difficulty": 5.5,
        "topic": "Mathematics -> Algebra",
        "r1_solution_1": "long",
        "r1_solution_2": "long",
        "r1_solution_3": "long",
    },
    "openr1-math": {
        "problem": "What is 6 * 7?",
        "solution": "## Solution: 42.",
        "answer": "42",
        "problem_type": "Algebra",
        "question_type": "math-word-problem",
        "source": "olympiads",
        "uuid": "586fd646-76d6-5070-8c81-9993ab9d8559",
        "generations": ["long", "long"],
        "messages": [{"role": "user", "content": "What is 6 * 7?"}, {"role": "assistant", "content": "long"}],
    },
    "math500": {
        "problem": "What is 6 * 7?",
        "solution": r"It is $\boxed{42}$.",
        "answer": "42",
        "subject": "Algebra",
        "level": 2,
        "unique_id": "test/algebra/1.json",
    },
    "amc23": {"id": 0, "question": "What is 6 * 7?", "answer": "42.0", "url": "https://example.org"},
    "aime2024": {
        "id": 60,
        "problem": "What is 6 * 7?",
        "solution": r"It is $\boxed{042}$.",
        "answer": "042",
        "url": "https://example.org",
        "year": "2024",
    },
    "aime2025": {"problem": "What is 6 * 7?", "answer": "42", "id": "0"},
    "aime2026": {**ARENA, "answer": 42},
    "hmmt-feb-2025": ARENA,
    "hmmt-feb-2026": ARENA,
    "brumo2025": ARENA,
    "minerva": {"question": "What is 6 * 7?", "answer": "42"},
    "olympiadbench": {
        "id": 1606,
        "question": "What is 6 * 7?",
        "solution": ["long"],
        "final_answer": ["42"],
        "context": None,
        "is_multiple_answer": False,
        "unit": None,
        "answer_type": "Numerical",
        "subfield": "Algebra",
    },
}
IDS = {"dapo-math-17k": DAPO["extra_info"]["index"], "aime2024": "60", "olympiadbench": "1606"}  # type: ignore[index]


def problems(folder: Path, name: str, rows: list[dict[str, Any]], **settings: Any) -> list[Problem]:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    split = "train" if HUB[name].test is None else "test"
    return list(load_task({"name": f"{name}:{file}", **settings}).load_problems(split))


def test_every_named_data_set_is_tested() -> None:
    assert list(ROWS) == list(HUB)


@pytest.mark.parametrize("name", ROWS)
def test_the_columns_as_they_are_published(tmp_path: Path, name: str) -> None:
    (problem,) = problems(tmp_path, name, [ROWS[name]])
    assert "What is 6 * 7?" in problem.question
    assert problem.reference.lstrip("0").removesuffix(".0") == "42"
    if ROWS[name] == ARENA or name == "aime2026":
        assert problem.id == "7"
    elif name in IDS:
        assert problem.id == IDS[name]
    (grade,) = load_task({"name": f"{name}:{tmp_path / 'rows.jsonl'}"}).grade_many([(problem, r"So \boxed{42}.")])
    assert grade.status == "correct"


def test_repeated_rows_of_dapo_are_one_and_its_prompt_is_not_instructed_twice(tmp_path: Path) -> None:
    other = {**DAPO, "extra_info": {"index": "b"}}
    found = problems(tmp_path, "dapo-math-17k", [DAPO, other, DAPO, DAPO, other])
    assert [problem.id for problem in found] == [IDS["dapo-math-17k"], "b"]
    task = load_task({"name": "dapo-math-17k"})
    assert [turn.content for turn in task.messages(found[0])] == [INSTRUCTION]
    assert load_task({"name": "dapo-math-17k", "prompt": "Q: {question}"}).prompt == "Q: {question}"
    assert load_task(task.model_dump(mode="json")) == task
    (grade,) = task.grade_many([(found[0], "6 * 7 is 42.\nAnswer: 42")])
    assert grade.status == "correct"


def test_several_answers_of_olympiadbench_are_one_list(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "olympiadbench", [{**ROWS["olympiadbench"], "final_answer": ["2", "3"]}])
    assert problem.reference == "2, 3"


def test_difficulty_of_training_data_chooses_problems(tmp_path: Path) -> None:
    polaris = [{**ROWS["polaris-53k"], "difficulty": f"{n}/8"} for n in range(9)]
    found = problems(tmp_path, "polaris-53k", polaris, solve_rate=[0.0, 0.25])
    assert [solve_rate_of(problem) for problem in found] == [0.0, 0.125, 0.25]
    assert [problem.id for problem in found] == ["0", "1", "2"]
    deepmath = [{**ROWS["deepmath-103k"], "difficulty": level} for level in (-1.0, 5.0, 5.5, 6.0)]
    assert [p.id for p in problems(tmp_path, "deepmath-103k", deepmath, levels=[5])] == ["1", "2"]
    big = [{**ROWS["big-math"], "llama8b_solve_rate": rate} for rate in (None, 0.0, 0.5, 1.0)]
    assert [p.id for p in problems(tmp_path, "big-math", big, solve_rate=[0.5, 1.0])] == ["2", "3"]


def test_training_data_leave_out_references_that_nobody_reaches(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unreachable = {**ROWS["deepscaler"], "answer": r"\frac{1}{"}
    found = problems(tmp_path, "deepscaler", [unreachable] * 9 + [ROWS["deepscaler"]])
    assert [problem.id for problem in found] == ["9"]
    assert len(caplog.records) == 6
    assert "left out: 9 of 10 rows in all" in caplog.text
    with pytest.raises(DataError, match="unreadable_references = 'leave_out'"):
        problems(tmp_path, "deepscaler", [unreachable], unreadable_references="error")
    with pytest.raises(DataError, match="no completion can reach"):
        problems(tmp_path, "minerva", [{**ROWS["minerva"], "answer": r"\frac{1}{"}])


def test_training_data_have_no_test_problems_and_one_training_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'deepscaler' has no test problems; give a local file with test = PATH"):
        load_task({"name": "deepscaler"}).load_problems("test")
    with pytest.raises(ConfigError, match="the training file is given twice: 'a' in 'name' and 'b' in 'train'"):
        load_task({"name": "deepscaler:a", "train": "b"})
