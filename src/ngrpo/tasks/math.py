"""Mathematics: data sets and benchmarks by their names (`hub_sources.py`), from the Hugging Face hub or local files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from ngrpo.choices import Split
from ngrpo.errors import DataError
from ngrpo.grading import GRADERS, GraderPool, fault_of, shared_pool
from ngrpo.grading.graders import MATHEMATICAL, REASONING_GYM, is_custom
from ngrpo.grading.pool import MEMORY_GIB
from ngrpo.grading.weighted import weighted_grade
from ngrpo.tasks.cells import cell
from ngrpo.tasks.conversations import Conversations
from ngrpo.tasks.difficulty import of_difficulty
from ngrpo.tasks.hub_sources import HUB, HubSource
from ngrpo.tasks.problem_columns import RECOGNISED, Columns, References, problems_of
from ngrpo.tasks.table_rows import TableRow, read_hub_rows, read_rows
from ngrpo.tasks.task import Task
from ngrpo.types import Grade, Problem

MATH_PROMPT = "{question}\nPlease reason step by step, and put your final answer within \\boxed{}."
"""The instruction that Qwen2.5-Math was trained with, as a user message."""


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
    graders: dict[str, float] = Field(default_factory=dict)
    """Several graders in place of `grader`, each with its weight: the reward is the weighted sum, which may be negative
    or above max_reward; the first one decides what is correct in evaluations (docs/data.md)."""
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

    @field_validator("graders")
    @classmethod
    def _known_graders(cls, graders: dict[str, float]) -> dict[str, float]:
        for place, (grader, weight) in enumerate(graders.items()):
            cls._known_grader(grader)
            if weight == 0.0 or (place == 0 and weight < 0.0):
                raise ValueError("weights must not be 0, and that of the first grader must be positive")
        return graders

    @property
    def weights(self) -> dict[str, float]:
        """Every grader with its weight."""
        return self.graders or {self.grader: 1.0}

    @property
    def first_grader(self) -> str:
        """The grader that decides what is correct in evaluations, and how references are read."""
        return next(iter(self.weights))

    @property
    def highest_reward(self) -> float:
        """The weighted sum when every grader with a positive weight gives its best and the others give 0."""
        return round(sum(weight for weight in self.weights.values() if weight > 0.0) * self.max_reward, 12)

    def check_grader(self) -> None:
        """Loads custom graders once, in the processes that will run them.

        Raises:
            GradingError: when that fails.
        """
        for grader in filter(is_custom, self.weights):
            self._pool(grader).start()

    @property
    def grades_by_reference(self) -> bool:
        """True unless a custom grader, which may ask for the problem's metadata, does the grading."""
        return not any(map(is_custom, self.weights))

    def grade_many(self, answers: Sequence[tuple[Problem, str]]) -> list[Grade]:
        """Returns the grade of each (problem, completion text) pair, in the order given."""
        if not self.graders:
            return self._grades_of(self.grader, answers)
        of_each = [self._grades_of(grader, answers) for grader in self.graders]
        return [weighted_grade(grades, self.graders) for grades in zip(*of_each, strict=True)]

    def _grades_of(self, grader: str, answers: Sequence[tuple[Problem, str]]) -> list[Grade]:
        pairs = [(completion, problem.reference) for problem, completion in answers]
        if not is_custom(grader):
            return self._pool(grader).grade_many(pairs)
        told = [{**p.metadata, "question": p.question, "problem_id": p.id} for p, _ in answers]
        return self._pool(grader).grade_many(pairs, told)

    def _pool(self, grader: str) -> GraderPool:
        return shared_pool(
            self.grader_workers,
            self.timeout_seconds,
            grader,
            max_reward=self.max_reward,
            memory_gib=self.grader_memory_gib,
            markers=self.markers,
        )

    def _problems_of(self, rows: Sequence[TableRow], where: str, columns: Columns = RECOGNISED) -> list[Problem]:
        conversations = Conversations(self.system, self.continue_final_message)
        return problems_of(rows, where, columns, self._references(), conversations)

    def _references(self) -> References:
        grader = self.first_grader
        return References(
            answer_of=GRADERS[grader].answer_of if grader in GRADERS else str.strip,
            fault_of=lambda reference: fault_of(reference, grader),
            leave_out=self.unreadable_references == "leave_out",
            advice="grader = 'exact' compares text; " if grader in MATHEMATICAL else "",
        )


class TableTask(MathTask):
    """What tasks whose problems come from tables have in common: problems are chosen by their difficulty."""

    levels: tuple[int, ...] = ()
    """Keep only problems of these levels (column `level` or `difficulty`; MATH has 1 to 5); empty: all."""
    solve_rate: tuple[float, ...] = ()
    """Keep only problems with a solve rate in [lowest, highest] (columns `solve_rate`, `pass_rate`,
    `llama8b_solve_rate`, or `difficulty` such as "3/8"); empty: all."""

    @field_validator("solve_rate")
    @classmethod
    def _is_a_range(cls, solve_rate: tuple[float, ...]) -> tuple[float, ...]:
        if solve_rate and not (len(solve_rate) == 2 and 0.0 <= solve_rate[0] <= solve_rate[1] <= 1.0):
            raise ValueError("must be [lowest, highest] within 0 and 1")
        return solve_rate

    def _problems_of(self, rows: Sequence[TableRow], where: str, columns: Columns = RECOGNISED) -> list[Problem]:
        return of_difficulty(super()._problems_of(rows, where, columns), self.levels, self.solve_rate, where)


class Math(TableTask):
    """A data set by its name (docs/data.md); NAME:PATH reads its problems from a local file.

    PATH holds the test problems, or the training problems where the data set has no others. Data sets for training
    leave out rows whose reference no completion can reach.
    """

    label: ClassVar[str] = "mathematics"

    train: str = ""
    """Local file with the training problems; empty: the hub."""
    test: str = ""
    """Local file with the test problems, the same as PATH in NAME:PATH; empty: the hub."""

    @classmethod
    def parse(cls, table: Mapping[str, Any], *, where: str = "") -> Self:
        """Returns the validated settings, with what the data set wants filled in, so that the resolved config has it.

        Args:
            table: as in `Settings.parse`.
            where: as in `Settings.parse`.
        """
        source = HUB.get(str(table.get("name")).partition(":")[0])
        defaults: dict[str, str] = {}
        if source is not None and source.test is None:
            defaults["unreadable_references"] = "leave_out"
        if source is not None and source.instructed:
            defaults["prompt"] = "{question}"
        return super().parse({**defaults, **table}, where=where)

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name.partition(":")[0] not in HUB or name.endswith(":"):
            raise ValueError(f"must be one of {', '.join(HUB)}, or such a name with :PATH")
        return name

    @model_validator(mode="after")
    def _one_file(self) -> Math:
        kind, _, path = self.name.partition(":")
        key = "train" if HUB[kind].test is None else "test"
        given = self.train if key == "train" else self.test
        if path and given and path != given:
            noun = "training" if key == "train" else "test"
            raise ValueError(f"the {noun} file is given twice: '{path}' in 'name' and '{given}' in '{key}'")
        return self

    def load_problems(self, split: Split) -> Sequence[Problem]:
        """Returns the problems of a split in the order of their source.

        Raises:
            DataError: when the hub or a file cannot be read, the data set has no such split, or no problem has the
                difficulty that is asked for.
        """
        kind, _, path = self.name.partition(":")
        source = HUB[kind]
        by_name = path if (split == "train") == (source.test is None) else ""
        file = by_name or (self.train if split == "train" else self.test)
        if file:
            return self._problems_of(_joined(_distinct(read_rows(file, split), source), source), file, source.columns)
        published = source.train if split == "train" else source.test
        if published is None:
            noun = "training" if split == "train" else "test"
            raise DataError(f"'{kind}' has no {noun} problems; give a local file with {split} = PATH")
        named = (split == "train") == (source.test is None)
        given = f"the name '{kind}:PATH'" if named else f"{split} = PATH"
        rows = read_hub_rows(
            *published,
            instead=f"a local file can be given with {given}",
            subset=source.subset,
            kept=source.kept,
            distinct=source.distinct,
        )
        return self._problems_of(_joined(rows, source), published[0], source.columns)


def _distinct(rows: Sequence[TableRow], source: HubSource) -> list[TableRow]:
    """The first row of each value in the data set's column that tells repeated rows; all where there is none."""
    if not source.distinct:
        return list(rows)
    return list({str(cell(row, source.distinct)): row for row in reversed(rows)}.values())[::-1]


def _joined(rows: Sequence[TableRow], source: HubSource) -> list[TableRow]:
    """Rows whose list of several answers is one text, such as "2, 3"."""
    if not source.several:
        return list(rows)
    lists = [(row, row.get(source.several)) for row in rows]
    return [
        {**row, source.several: ", ".join(map(str, value))} if isinstance(value, list) and len(value) > 1 else row
        for row, value in lists
    ]
