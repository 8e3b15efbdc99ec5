"""What the processes of verl tell ours of each step: what was sampled, and what evaluations sampled.

    RUN/verl/steps/000050.json                metrics of what was sampled, and the lines of rollouts.jsonl
    RUN/verl/evaluations/000050/TASK.jsonl    a line per completion, as in a samples file

The one who samples writes them, before the step's line in verl's own metrics.jsonl; `ngrpo.engines.verl.results` reads
them after it and removes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ngrpo.evaluation.samples.sample import Sample, sample_of
from ngrpo.storage import append_json_lines, read_json_lines, read_json_object, write_json

if TYPE_CHECKING:
    from ngrpo.types import Group


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What was sampled for a step: `metrics` of it, the counts for the totals, and the lines of rollouts.jsonl."""

    metrics: dict[str, Any]
    rollouts_sampled: int
    rollouts_trained: int
    rollouts: list[dict[str, Any]]

    def write(self, path: Path) -> None:
        """Writes the record in one move."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Returns the record of a file.

        Raises:
            DataError: when it cannot be read.
        """
        return cls(**read_json_object(path))


def append_evaluated(path: Path, groups: Sequence[Group], *, seed: int) -> None:
    """Adds the completions of groups to what an evaluation has sampled so far."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    append_json_lines(path, [sample_of(rollout, seed=seed).to_line() for rollout in rollouts])


def read_evaluated(path: Path) -> Iterator[Sample]:
    """Yields what an evaluation has sampled; nothing where nothing came."""
    return (Sample(**line) for line in read_json_lines(path)) if path.is_file() else iter(())
