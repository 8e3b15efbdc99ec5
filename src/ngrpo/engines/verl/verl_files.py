"""Where a run of verl keeps its files, below the run folder; and its problems, written in verl's schema."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ngrpo.choices import Split
from ngrpo.storage import atomic_file, write_json

if TYPE_CHECKING:
    from ngrpo.config import Config
    from ngrpo.tasks import Task
    from ngrpo.types import Problem


@dataclass(frozen=True, slots=True)
class VerlFiles:
    """Paths below a run folder."""

    run: Path

    @property
    def folder(self) -> Path:
        """What verl reads and writes."""
        return self.run / "verl"

    @property
    def config(self) -> Path:
        """The config as this start was given it: a resumed run may have more steps than its own config.json says."""
        return self.folder / "config.json"

    @classmethod
    def of_config(cls, path: str | Path) -> Self:
        """Returns the paths of the run that a config of `config` belongs to."""
        return cls(Path(path).parent.parent)

    @property
    def train(self) -> Path:
        """The training problems."""
        return self.folder / "train.parquet"

    @property
    def validation(self) -> Path:
        """The problems of every evaluation task."""
        return self.folder / "validation.parquet"

    @property
    def metrics(self) -> Path:
        """Metrics of verl, a JSON line per step."""
        return self.folder / "metrics.jsonl"

    @property
    def log(self) -> Path:
        """Everything that verl, Ray and vLLM print."""
        return self.folder / "log.txt"

    @property
    def lost(self) -> Path:
        """Which worker died, where one did."""
        return self.folder / "lost_worker.txt"

    @property
    def phase(self) -> Path:
        """What verl is doing right now (`ngrpo.engines.verl.phases`)."""
        return self.folder / "phase.json"

    @property
    def steps(self) -> Path:
        """What was sampled for steps whose metrics are not yet ours (`ngrpo.engines.verl.records`)."""
        return self.folder / "steps"

    def step(self, step: int) -> Path:
        """The record of one step."""
        return self.steps / f"{step:06d}.json"

    @property
    def evaluations(self) -> Path:
        """What evaluations sampled that are not yet ours."""
        return self.folder / "evaluations"

    def evaluated(self, step: int, task: str) -> Path:
        """What was sampled for one task after a step."""
        return self.evaluations / f"{step:06d}" / f"{task}.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints in verl's layout."""
        return self.folder / "checkpoints"

    @property
    def newest_checkpoint(self) -> Path:
        """Where verl notes the step of its newest whole checkpoint."""
        return self.checkpoints / "latest_checkpointed_iteration.txt"

    @property
    def newest_step(self) -> int:
        """The step of that checkpoint; 0 before the first, and of a note that verl was ended while writing."""
        text = self.newest_checkpoint.read_text(encoding="utf-8") if self.newest_checkpoint.is_file() else ""
        return int(text or 0)

    def model(self, step: int) -> Path:
        """The Hugging Face folder of a checkpoint."""
        return self.checkpoints / f"global_step_{step}" / "actor" / "huggingface"


def write_inputs(config: Config, run_folder: Path) -> None:
    """Writes what verl's processes read: the config, and its problems, train.parquet and validation.parquet.

    Raises:
        DataError: when a task's problems cannot be read.
    """
    from ngrpo.runs.training_problems import training_problems

    files = VerlFiles(run_folder.resolve())
    files.folder.mkdir(parents=True, exist_ok=True)
    write_json(files.config, {"config": config.to_json()})
    _write(files.train, rows_of(config.task, training_problems(config), "train"))
    if config.evaluation.every:
        limit, split = config.evaluation.problems or None, config.evaluation.split
        rows = [
            row
            for task in config.evaluation_tasks()
            for row in islice(rows_of(task, task.problems(split), "test"), limit)
        ]
        _write(files.validation, rows)


def rows_of(task: Task, problems: Iterable[Problem], side: Split) -> Iterable[dict[str, Any]]:
    """Yields a row of verl's schema for each problem; `side` is what it serves, training (train) or evaluation (test).

    What the grader needs besides the reference travels as one JSON text: a column of tables must have the same keys in
    every row, and metadata does not.
    """
    for index, problem in enumerate(problems):
        yield {
            "data_source": task.slug,
            "prompt": [{"role": m.role, "content": m.content} for m in task.messages(problem)],
            "ability": task.label,
            "reward_model": {"style": "rule", "ground_truth": problem.reference},
            "extra_info": {"index": index, "split": side, "problem": problem_text(problem)},
        }


def problem_text(problem: Problem) -> str:
    """Returns what `problem_of` makes the problem of again."""
    fields = {"id": problem.id, "question": problem.question, "metadata": dict(problem.metadata)}
    return json.dumps(fields, default=str)


def problem_of(text: str, reference: str) -> Problem:
    """Returns the problem that a row came from, without its chat messages, which no grader reads."""
    from ngrpo.types import Problem

    fields = json.loads(text)
    return Problem(fields["id"], fields["question"], reference, metadata=fields["metadata"])


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_file(path) as file:
        pq.write_table(pa.Table.from_pylist(list(rows)), file)
