"""Options of `passk` and `compare` on which problems count together: --cluster, --by, --problems, --only-common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from ngrpo.errors import ConfigError
from ngrpo.runs.sample_files import samples_path

if TYPE_CHECKING:
    from ngrpo.evaluation.samples.entry import Choices
    from ngrpo.evaluation.statistics.matching import SamplesFile

CLUSTER = typer.Option("--cluster", metavar="COLUMN", help="Take intervals over clusters of problems.")
BY = typer.Option("--by", metavar="COLUMN", help="Add a table per value of a column, such as level or source.")
PROBLEMS = typer.Option(
    "--problems", metavar="FILE", help="A table of problems with the columns of --cluster and --by, by id."
)
ONLY_COMMON = typer.Option("--only-common", help="Keep the problems that all files have, with the same reference.")


class ColumnSource(NamedTuple):
    """Where the columns of problems are: in the samples files, or in a table of problems."""

    problems: Path | None = None
    choices: Choices | None = None

    def labels(self, column: str | None, files: Iterable[SamplesFile]) -> dict[str, str] | None:
        """Returns a column by problem for files of the same problems, None for no column.

        Raises:
            DataError: for a problem without a value, or with two.
        """
        from ngrpo.evaluation.samples.entry import NO_CHOICES
        from ngrpo.evaluation.samples.problem_labels import chosen_labels, labels_of_table, read_labels

        if column is None:
            return None
        listed = list(files)
        if self.problems is not None:
            found = [labels_of_table(self.problems, column)]
        else:
            found = [read_labels(samples_path(Path(file.name)), column, self.choices or NO_CHOICES) for file in listed]
        ids = dict.fromkeys(problem_id for file in listed for problem_id in file.counts.problem_ids)
        return chosen_labels(found, ids, column)


def column_source(cluster: str | None, by: str | None, problems: Path | None, choices: Choices) -> ColumnSource:
    """Returns the source of --cluster and --by.

    Raises:
        ConfigError: for --problems without either.
    """
    if problems is not None and cluster is None and by is None:
        raise ConfigError("--problems needs --cluster or --by: it holds their columns")
    return ColumnSource(problems, choices)


def common(files: Sequence[SamplesFile], only_common: bool) -> tuple[list[SamplesFile], list[str]]:
    """Returns the files, with the common problems alone where that is asked for, and notes on what was left out."""
    from ngrpo.evaluation.statistics.matching import common_problems

    if not only_common:
        return list(files), []
    found = common_problems(files)
    return found.files, found.notes


def part_of(files: Iterable[SamplesFile], problem_ids: Iterable[str]) -> list[SamplesFile]:
    """Returns the files with some of their problems alone."""
    import numpy as np

    wanted = set(problem_ids)
    return [
        file._replace(counts=file.counts.of(np.flatnonzero([name in wanted for name in file.counts.problem_ids])))
        for file in files
    ]


def named_groups(column: str, labels: Mapping[str, str]) -> dict[str, list[str]]:
    """Returns the problems by the heading of their group, such as `level 3`."""
    from ngrpo.evaluation.samples.problem_labels import groups_of

    return {f"{column} {label}": problem_ids for label, problem_ids in groups_of(labels).items()}
