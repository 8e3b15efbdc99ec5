"""The journal of an unfinished evaluation: every completion on disk as soon as it arrives, its grade after it.

The journal is a hidden file beside the samples file and only ever grows. It has two kinds of lines: completions (lines
of a samples file whose `status` is null until they are graded) and grades. When all are there, they are written in the
order of the problems under the final name: a file with the name of a samples file is complete, because Pass@k of its
first problems alone would be wrong without looking so.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from ngrpo.errors import DataError
from ngrpo.evaluation.samples.sample import Sample
from ngrpo.storage import atomic_file, json_line
from ngrpo.types import Grade

Key = tuple[str, int]
"""A problem's id and the sample's index."""


class _Place(NamedTuple):
    """A line in the journal, in bytes."""

    start: int
    length: int


class Journal:
    """The samples that an evaluation has so far; where a key is there twice, the later line counts.

    Every line is written in one call before the method returns, so it outlives the process, however that ends.
    Methods may be called from several threads. Use it as a context manager, or call `close`.

    Args:
        samples_path: the samples file that it becomes.
        resume: continue an existing journal; otherwise it is emptied.
        retry_refused: treat completions that the server refused as missing; a finished samples file becomes a journal
            again.

    Raises:
        DataError: when the existing file is not the journal of an evaluation.
    """

    def __init__(self, samples_path: Path, *, resume: bool, retry_refused: bool = False) -> None:
        self._samples_path, self._path = samples_path, journal_path(samples_path)
        self._completions: dict[Key, _Place] = {}
        self._grades: dict[Key, _Place | None] = {}  # None: in the line of the completion
        self._refused: set[Key] = set()
        self._end = 0
        self._lock = threading.Lock()
        if resume and retry_refused and samples_path.exists() and not self._path.exists():
            samples_path.rename(self._path)
        if resume and self._path.exists():
            self._read()
        if retry_refused:
            for key in self._refused:
                del self._completions[key]
            self._refused.clear()
        self._file = self._path.open("a+b", buffering=0)
        self._file.truncate(self._end)  # a line that a killed writer left incomplete

    @property
    def done(self) -> Collection[Key]:
        """The keys of the completions that are there, graded or not."""
        return self._completions.keys()

    @property
    def answered(self) -> bool:
        """Whether there is a completion that was not refused."""
        return len(self._completions) > len(self._refused)

    def ungraded(self) -> list[Key]:
        """Returns the keys of the completions that have no grade yet."""
        return [key for key in self._completions if key not in self._grades]

    def arrived(self, sample: Sample, *, graded: bool) -> None:
        """Adds a completion; with `graded` false, the grade in it does not count."""
        key = (sample.problem_id, sample.sample)
        line = json_line(sample.to_line() if graded else {**sample.to_line(), "status": None})
        with self._lock:
            self._completions[key] = self._write(line)
            self._grades.pop(key, None)
            if graded:
                self._grades[key] = None
            if sample.finish_reason == "refused":
                self._refused.add(key)
            else:
                self._refused.discard(key)

    def graded(self, grades: Iterable[tuple[Key, Grade]]) -> None:
        """Adds the grades of completions that have arrived."""
        for key, grade in grades:
            line: dict[str, Any] = {"problem_id": key[0], "sample": key[1], "answer": grade.answer}
            line |= {"status": grade.status, "reward": grade.reward}
            if grade.status == "ungraded":
                line["reason"] = grade.reason
            with self._lock:
                self._grades[key] = self._write(json_line(line))

    def text(self, key: Key) -> str:
        """Returns the text of a completion."""
        return str(json.loads(self._line(self._completions[key]))["completion"])

    def finish(self, order: Sequence[Key]) -> None:
        """Writes the samples of these keys, in this order, as the samples file, and removes the journal."""
        with atomic_file(self._samples_path) as file:
            for key in order:
                line, grade = self._line(self._completions[key]), self._grades[key]
                if grade is not None:
                    row = json.loads(line) | json.loads(self._line(grade))
                    if not row.get("reason"):
                        row.pop("reason", None)
                    line = json_line(row)
                file.write(line)
        self.close()
        self._path.unlink()

    def close(self) -> None:
        """Closes the file; nothing is buffered, so nothing is lost without it."""
        self._file.close()

    def __enter__(self) -> Self:
        """Returns the journal itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the file."""
        self.close()

    def _line(self, place: _Place) -> bytes:
        return os.pread(self._file.fileno(), place.length, place.start)

    def _write(self, line: bytes) -> _Place:
        place = _Place(self._end, len(line))
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except BaseException:
            self._file.close()  # after part of a line, nothing may follow
            raise
        self._end += len(line)
        return place

    def _read(self) -> None:
        with self._path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return
                self._take(line, f"{self._path}, line {number}")

    def _take(self, line: bytes, where: str) -> None:
        try:
            row: Any = json.loads(line)
            key = str(row["problem_id"]), int(row["sample"])
            status, completes = row["status"], "completion" in row
            if not completes and (status is None or key not in self._completions):
                raise KeyError("completion")
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise DataError(f"{where}: not a line of an evaluation; remove the file to start over") from None
        place = _Place(self._end, len(line))
        self._end += len(line)
        if not completes:
            self._grades[key] = place
            return
        self._completions[key] = place
        self._grades.pop(key, None)
        if status is not None:
            self._grades[key] = None
        if row.get("finish_reason") == "refused":
            self._refused.add(key)
        else:
            self._refused.discard(key)


def journal_path(samples_path: Path) -> Path:
    """Returns where the journal of a samples file is.

    >>> journal_path(Path("eval/samples.jsonl")).as_posix()
    'eval/.samples.jsonl.journal'
    """
    return samples_path.with_name(f".{samples_path.name}.journal")
