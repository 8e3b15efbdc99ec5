"""Competition mathematics: MATH, MATH-500, AMC23 and AIME2025, from the Hugging Face hub or local files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ngrpo.choices import Split
from ngrpo.errors import DataError
from ngrpo.grading import GRADERS, GraderPool, fault_of, shared_pool
from ngrpo.grading.graders import MATHEMATICAL, REASONING_GYM, is_custom
from ngrpo.grading.pool import MEMORY_GIB
from ngrpo.tasks.conversations import Conversations
from ngrpo.tasks.problem_columns import RECOGNISED, Columns, References, problems_of
from ngrpo.tasks.table_rows import TableRow, read_hub_rows, read_rows
from ngrpo.tasks.task import Task
from ngrpo.types import Grade, Problem

MATH_PROMPT = "{question}\nPlease reason step by step, and put your final answer within \\boxed{}."
"""The instruction that Qwen2.5-Math was trained with, as a user message."""


@dataclass(frozen=True, slots=True)
class HubSource:
    """The splits of a benchmark as (dataset id, split there); None for one that it does not have."""

    train: tuple[str, str] | None
    test: tuple[str, str]


HUB: Mapping[str, HubSource] = {
    "math": HubSource(("DigitalLearningGmbH/MATH-lighteval", "train"), ("DigitalLearningGmbH/MATH-lighteval", "test")),
    "math500": HubSource(None, ("HuggingFaceH4/MATH-500", "test")),
    "amc23": HubSource(None, ("math-ai/amc23", "test")),
    "aime2025": HubSource(None, ("math-ai/aime25", "test")),
}


class MathTask(Task):
    """What tasks with mathematical answers have in common: the prompt, and grading in a worker process."""

    prompt: str = MATH_PROMPT
    """Template of the user's message (in a conversation the last one); `{question}` is replaced, other braces stay."""
    renamed: ClassVar[Mapping[str, str]] = {"policy": "grader", "verifier": "grader"}

    timeout_seconds: float = Field(2.0, gt=0)
    """Processor time in seconds that comparing one answer may take; beyond it the completion is ungraded."""
    grader_workers: int = Field(1, ge=1)
    """Processes that compare answers; most answers need none."""
    grader_memory_gib: float = Field(MEMORY_GIB, gt=0)
    """Address space of each of these processes, in GiB."""
    grader: str = "strict"
    """`strict`, `math-verify` (that library), `reference` (the NGRPO grader), `exact` (text), `choice` (a letter),
    `reasoning-gym` (its scorers), or MODULE:FUNCTION, a custom grader."""
    markers: tuple[str, ...] = ()
    """Texts such as "My answer:" that announce an answer where there is no box, beside the built-in ones."""
    unreadable_references: Literal["error", "leave_out"] = "error"
    """A reference that no completion can reach is an error, or its row is listed and left out."""

    @field_validator("grader")
    @classmethod
    def _known_grader(cls, grader: str) -> str:
        if grader in GRADERS or is_custom(grader):
            return grader
        raise ValueError(f"must be {', '.join(GRADERS)}, {REASONING_GYM} or MODULE:FUNCTION")

    def check_grader(self) -> None:
        """Loads a custom grader once, in the process that will run it.

        Raises:
            GradingError: when that fails.
        """
        if is_custom(self.grader):
            self._pool().start()

    @property
    def grades_by_reference(self) -> bool:
        """True unless a custom grader, which may ask for the problem's metadata, does the grading."""
        return not is_custom(self.grader)

    def grade_many(self, answers: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """Returns the grade of each (problem, completion text) pair, in the order given."""
        pairs = [(completion, problem.reference) for problem, completion in answers]
        if not is_custom(self.grader):
            return self._pool().grade_many(pairs)
        told = [{**p.metadata, "question": p.question, "problem_id": p.id} for p, _ in answers]
        return self._pool().grade_many(pairs, told)

    def _pool(self) -> GraderPool:
        return shared_pool(
            self.grader_workers,
            self.timeout_seconds,
            self.grader,
            max_reward=self.max_reward,
            memory_gib=self.grader_memory_gib,
            markers=self.markers,
        )

    def _problems_of(self, rows: Sequence[TableRow], where: str, columns: Columns = RECOGNISED) -> list[Problem]:
        conversations = Conversations(self.system, self.continue_final_message)
        return problems_of(rows, where, columns, self._references(), conversations)

    def _references(self) -> References:
        grader = self.grader
        return References(
            answer_of=GRADERS[grader].answer_of if grader in GRADERS else str.strip,
            fault_of=lambda reference: fault_of(reference, grader),
            leave_out=self.unreadable_references == "leave_out",
            advice="grader = 'exact' compares text; " if grader in MATHEMATICAL else "",
        )


class Math(MathTask):
    """A benchmark by name; NAME:PATH reads its test problems from a local file."""

    label: ClassVar[str] = "mathematics"

    train: str = ""
    """Local file with the training problems; empty: the hub."""
    test: str = ""
    """Local file with the test problems, the same as PATH in NAME:PATH; empty: the hub."""
    levels: tuple[int, ...] = ()
    """Keep only problems of these levels (MATH has 1 to 5); empty: all."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name.partition(":")[0] not in HUB or name.endswith(":"):
            raise ValueError(f"must be one of {', '.join(HUB)}, or such a name with :PATH")
        return name

    @model_validator(mode="after")
    def _one_test_file(self) -> Math:
        path = self.name.partition(":")[2]
        if path and self.test and path != self.test:
            raise ValueError(f"the test file is given twice: '{path}' in 'name' and '{self.test}' in 'test'")
        return self

    def load_problems(self, split: Split) -> Sequence[Problem]:
        """Returns the problems of a split in the order of their source.

        Raises:
            DataError: when the hub or a file cannot be read, or no problem has one of the levels.
        """
        kind, _, path = self.name.partition(":")
        file = self.train if split == "train" else (path or self.test)
        if file:
            return self._of_levels(self._problems_of(read_rows(file), file), file)
        source = HUB[kind].train if split == "train" else HUB[kind].test
        if source is None:
            raise DataError(f"'{kind}' has no training problems; give a local file with train = PATH")
        given = "train = PATH" if split == "train" else f"the name '{kind}:PATH'"
        rows = read_hub_rows(*source, instead=f"a local file can be given with {given}")
        return self._of_levels(self._problems_of(rows, source[0]), source[0])

    def _of_levels(self, problems: list[Problem], where: str) -> list[Problem]:
        if not self.levels:
            return problems
        kept = [problem for problem in problems if level_of(problem) in self.levels]
        if not kept:
            raise DataError(f"{where}: no problem has a level among {', '.join(map(str, self.levels))}")
        return kept


def level_of(problem: Problem) -> int | None:
    """Returns the number in a problem's `level`, None where it has none (MATH knows a "Level ?").

    >>> level_of(Problem("0", "q", "1", metadata={"level": "Level 5"}))
    5
    """
    digits = re.search(r"[0-9]+", str(problem.metadata.get("level", "")))
    return int(digits[0]) if digits else None
