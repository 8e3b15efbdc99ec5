"""The journal of an unfinished evaluation: lines as they come, so that a killed one loses next to nothing.

The journal stands beside the samples file under a hidden name and is only ever appended to. When all samples are there,
they are written in the order of the problems under the final name: a file that bears the name of a samples file is
whole, for Pass@k of its first problems alone would be wrong without looking so.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ngrpo.errors import DataError
from ngrpo.evaluation.samples import Sample
from ngrpo.files import atomic_file, json_line

Key = tuple[str, int]
"""A problem's id and the sample's index."""


def journal_path(samples_path: Path) -> Path:
    """Returns where the journal of a samples file stands.

    >>> journal_path(Path("eval/samples.jsonl")).as_posix()
    'eval/.samples.jsonl.journal'
    """
    return samples_path.with_name(f".{samples_path.name}.journal")


class Journal:
    """The samples that an evaluation has so far; where a key came twice, the later line counts.

    Args:
        samples_path: the samples file that it becomes.
        resume: go on with the journal that is there; otherwise it is begun anew.

    Raises:
        DataError: when the journal that is there holds something that no evaluation has written.
    """

    def __init__(self, samples_path: Path, *, resume: bool) -> None:
        self._samples_path, self._path = samples_path, journal_path(samples_path)
        self._places: dict[Key, tuple[int, int]] = {}
        self._end = 0
        if resume and self._path.exists():
            self._read()
        with self._path.open("ab") as file:
            file.truncate(self._end)  # a line that a killed writer has left torn

    @property
    def done(self) -> Collection[Key]:
        """The keys of the samples that are there."""
        return self._places.keys()

    def append(self, samples: Sequence[Sample]) -> None:
        """Adds samples in one write."""
        lines = [json_line(asdict(sample)) for sample in samples]
        with self._path.open("ab") as file:
            file.write(b"".join(lines))
        for sample, line in zip(samples, lines, strict=True):
            self._place((sample.problem_id, sample.sample), line)

    def finish(self, order: Sequence[Key]) -> None:
        """Writes the samples of these keys, in this order, as the samples file, and removes the journal."""
        with self._path.open("rb") as journal, atomic_file(self._samples_path) as file:
            for key in order:
                start, length = self._places[key]
                journal.seek(start)
                file.write(journal.read(length))
        self._path.unlink()

    def _read(self) -> None:
        with self._path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return
                self._place(_key(line, f"{self._path}, line {number}"), line)

    def _place(self, key: Key, line: bytes) -> None:
        self._places[key] = (self._end, len(line))
        self._end += len(line)


def _key(line: bytes, where: str) -> Key:
    try:
        row: Any = json.loads(line)
        return str(row["problem_id"]), int(row["sample"])
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{where}: not a line of an evaluation; remove the file to begin anew") from None
