"""`scripts/make_running_sums.py`: what the second task of the study consists of."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from ngrpo.study.study_config import load_study
from ngrpo.tasks import load_task
from tests.conftest import script


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder after one step of training, and the script as a module."""
    folder, maker = tmp_path_factory.mktemp("sums"), script("make_running_sums")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["make_running_sums.py", str(folder), "--steps", "1"])
        maker.main()
    return folder, maker


def rows_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_the_problems_are_different_and_none_is_on_both_sides(made: tuple[Path, Any]) -> None:
    train, few, test = (rows_of(made[0] / f"{name}.jsonl") for name in ("train", "few", "test"))
    assert (len(train), few, len(test)) == (16_384, train[:160], 512)
    questions = [row["question"] for row in train + test]
    assert len(set(questions)) == len(questions)
    assert all(sum(map(int, row["question"].split("+"))) == int(row["answer"]) for row in train + test)
    assert {row["question"].count("+") for row in test} == {1, 2, 3, 4}


def test_a_solution_without_a_mistake_is_correct_and_others_are_not(made: tuple[Path, Any]) -> None:
    folder, maker = made
    task = load_task({"name": f"file:{folder / 'train.jsonl'}", "test": str(folder / "test.jsonl")})
    problems = task.problems("test")[:200]
    for mistaken, status in ((0.0, "correct"), (1.0, "wrong")):
        rng = random.Random(0)
        numbers = [[int(part) for part in problem.question.split("+")] for problem in problems]
        texts = [maker.solution_of(of_problem, rng, mistaken) for of_problem in numbers]
        grades = task.grade_many(list(zip(problems, texts, strict=True)))
        right = [text.endswith(f"####{problem.reference}") for problem, text in zip(problems, texts, strict=True)]
        assert [grade.status == "correct" for grade in grades] == right
        assert sum(grade.status == status for grade in grades) >= (200 if status == "correct" else 180)


def test_the_tokenizer_reads_and_writes_a_solution_character_by_character(made: tuple[Path, Any]) -> None:
    folder, maker = made
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    text = maker.solution_of([38, 67, 94], random.Random(0), 0.0)
    assert text == "38+67=105,105+94=199####199"
    tokens = tokenizer(text)["input_ids"]
    assert len(tokens) == len(text) - 3
    assert tokenizer.decode(tokens) == text
    model = AutoModelForCausalLM.from_pretrained(folder / "base")
    assert model.config.vocab_size == len(tokenizer)


@pytest.mark.parametrize("name", ["running_sums", "running_sums_b"])
def test_its_studies_have_equal_rollouts(name: str) -> None:
    study = load_study(f"configs/study/{name}.toml")
    variants = {cell.variant for cell in study.cells}
    assert variants == {"grpo", "ngrpo", "psr_nsr", "dapo", "constant"}
    assert len({cell.config.run.max_rollouts for cell in study.cells}) == 1
