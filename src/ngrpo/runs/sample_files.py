"""The samples of a file, an evaluation folder, or a run folder with the evaluations of one task."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.samples.counts import read_counts
from ngrpo.evaluation.samples.entry import Choices
from ngrpo.evaluation.statistics.matching import SamplesFile
from ngrpo.runs.run_dir import RunDir


def samples_path(path: Path) -> Path:
    """Returns the samples file that an argument of the command line means.

    A folder that holds samples.jsonl is an evaluation; a run folder stands for its newest complete evaluation. All
    else is returned as it is, for the reader of the file to judge.

    Raises:
        DataError: for a folder that is neither, or a run without a complete evaluation.
        ConfigError: for a run whose evaluations are of several tasks; it lists the newest of each.
    """
    if not path.is_dir():
        return path
    inside = path / "samples.jsonl"
    if inside.is_file():
        return inside
    if not (path / "config.json").is_file():
        raise DataError(f"{path} holds neither samples.jsonl (an evaluation) nor config.json (a run)")
    newest: dict[str, Path] = {}
    for summary in RunDir.open(path).read_summaries():  # by step, the newest last
        newest[summary.task] = path / "eval" / f"{summary.step:06d}" / summary.task
    if not newest:
        raise DataError(f"the run {path} has no complete evaluation")
    if len(newest) > 1:
        listed = ", ".join(map(str, newest.values()))
        raise ConfigError(f"the run {path} has evaluations of several tasks: give one of {listed}")
    (folder,) = newest.values()
    return folder / "samples.jsonl"


def read_samples(paths: Iterable[Path], choices: Choices) -> dict[str, SamplesFile]:
    """Returns the counts of each path, by that path; see `read_counts`.

    Raises:
        ConfigError: when two paths are the same file, or as `samples_path` does.
        DataError: as `samples_path` and `read_counts` do.
    """
    found: dict[Path, str] = {}
    for path in paths:
        file = samples_path(path)
        if os.path.realpath(file) in map(os.path.realpath, found):  # Path.resolve() raises for a loop of links
            raise ConfigError(f"{path} is given twice")
        found[file] = str(path)
    return {name: SamplesFile(name, read_counts(file, choices)) for file, name in found.items()}
