"""Samples files: one line per graded completion; and what Pass@k needs of them, counts per problem.

Three formats are read, recognised by their first line: ours (JSON lines with `problem_id`), the reference
implementation's (JSON lines with `question_id`, `generation_id`, `label`) and counts (CSV with
`problem_id,n,c`).
"""

from __future__ import annotations

import csv
import io
import json
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ngrpo.errors import DataError
from ngrpo.files import append_json_lines
from ngrpo.types import Rollout, Status

_WRONG, _CORRECT, _UNGRADED = 0, 1, 2
_VERDICTS = dict.fromkeys(get_args(Status), _WRONG) | {"correct": _CORRECT, "ungraded": _UNGRADED}


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a samples file; `sample` is the 0-based index among the completions of its problem."""

    problem_id: str
    sample: int
    completion: str
    answer: str | None
    reference: str
    status: Status
    reward: float
    num_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Per problem, in the order of the file: n graded completions, c of them correct, and the ungraded."""

    problem_ids: tuple[str, ...]
    n: NDArray[np.int64]
    c: NDArray[np.int64]
    ungraded: NDArray[np.int64]


def sample_of(rollout: Rollout) -> Sample:
    """Returns the line of a rollout."""
    return Sample(
        problem_id=rollout.problem.id,
        sample=rollout.sample,
        completion=rollout.completion.text,
        answer=rollout.grade.answer,
        reference=rollout.problem.reference,
        status=rollout.grade.status,
        reward=rollout.grade.reward,
        num_tokens=len(rollout.completion.tokens),
    )


def append_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Adds lines to a samples file in one write; makes the file if need be."""
    append_json_lines(path, map(asdict, samples))


def read_counts(path: str | Path) -> Counts:
    """Returns the counts of a samples file in any of the three formats.

    Raises:
        DataError: when the file is missing, empty or of no known format; for a malformed line, a missing key
            or an impossible value (with the line number); for a sample that is there twice or lacking.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            first = next((line for line in file if line.strip()), b"")
            file.seek(0)
            if not first:
                raise DataError(f"{path} is empty: it holds no samples")
            if first.lstrip().startswith(b"{"):
                return _counts_of_lines(path, file)
            return _counts_of_csv(path, file.read())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


@dataclass(slots=True)
class _Columns:
    """The parts of all lines that counting needs, 17 bytes a line."""

    indices: dict[str, int] = field(default_factory=dict)
    problem: array[int] = field(default_factory=lambda: array("i"))
    sample: array[int] = field(default_factory=lambda: array("q"))
    verdict: array[int] = field(default_factory=lambda: array("b"))
    line: array[int] = field(default_factory=lambda: array("i"))

    def add(self, problem_id: str, sample: int, verdict: int, line: int) -> None:
        self.problem.append(self.indices.setdefault(problem_id, len(self.indices)))
        self.sample.append(sample)
        self.verdict.append(verdict)
        self.line.append(line)


def _counts_of_lines(path: Path, file: Iterable[bytes]) -> Counts:
    columns = _Columns()
    read_row: Callable[[Mapping[str, Any]], tuple[str, int, int]] | None = None
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = _object(line)
            read_row = read_row or _format_of(row)
            columns.add(*read_row(row), number)
        except KeyError as error:
            raise DataError(f"{path}, line {number}: the key {error} is missing") from None
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
    problem = np.frombuffer(columns.problem, dtype=np.intc)
    verdict = np.frombuffer(columns.verdict, dtype=np.int8)
    _refuse_duplicates(path, columns, problem)
    if read_row is _our_row:
        _refuse_gaps(path, columns, problem)
    size = len(columns.indices)
    return Counts(
        problem_ids=tuple(columns.indices),
        n=np.bincount(problem[verdict != _UNGRADED], minlength=size),
        c=np.bincount(problem[verdict == _CORRECT], minlength=size),
        ungraded=np.bincount(problem[verdict == _UNGRADED], minlength=size),
    )


def _object(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        cut = "" if line.endswith(b"\n") else ", the line is cut off"
        raise DataError(f"not JSON{cut}") from None
    if not isinstance(row, dict):
        raise DataError("expected a JSON object")
    return row


def _format_of(row: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], tuple[str, int, int]]:
    if "problem_id" in row:
        return _our_row
    if "question_id" in row:
        return _reference_row
    raise DataError(
        "not a line of a samples file: expected the keys problem_id, sample and status, "
        "or question_id, generation_id and label"
    )


def _our_row(row: Mapping[str, Any]) -> tuple[str, int, int]:
    status = row["status"]
    verdict = _VERDICTS.get(status) if isinstance(status, str) else None
    if verdict is None:
        raise DataError(f"status {status!r} is none of {', '.join(_VERDICTS)}")
    return _problem_id(row["problem_id"]), _index(row["sample"], "sample"), verdict


def _reference_row(row: Mapping[str, Any]) -> tuple[str, int, int]:
    label = row["label"]
    if label not in (True, False):
        raise DataError(f"label {label!r} is neither true nor false")
    return _problem_id(row["question_id"]), _index(row["generation_id"], "generation_id"), int(label)


def _problem_id(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"the id of a problem must be a string or a whole number, got {value!r}")


def _index(value: object, key: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    raise DataError(f"{key} must be a whole number >= 0, got {value!r}")


def _refuse_duplicates(path: Path, columns: _Columns, problem: NDArray[np.intc]) -> None:
    sample = np.frombuffer(columns.sample, dtype=np.int64)
    order = np.lexsort((sample, problem))
    same = (np.diff(problem[order]) == 0) & (np.diff(sample[order]) == 0)
    if not same.any():
        return
    at = int(np.flatnonzero(same)[0])
    first, second = int(order[at]), int(order[at + 1])
    name = list(columns.indices)[problem[first]]
    raise DataError(
        f"{path}: sample {sample[first]} of problem {name!r} is there twice, "
        f"in lines {columns.line[first]} and {columns.line[second]}"
    )


def _refuse_gaps(path: Path, columns: _Columns, problem: NDArray[np.intc]) -> None:
    # Without duplicates, samples 0 to n - 1 are all there exactly when the largest index is n - 1.
    sample = np.frombuffer(columns.sample, dtype=np.int64)
    present = np.bincount(problem)
    largest = np.zeros(len(present), dtype=np.int64)
    np.maximum.at(largest, problem, sample)
    gaps = np.flatnonzero(largest >= present)
    if gaps.size:
        index = int(gaps[0])
        own = set(sample[problem == index].tolist())
        missing = next(i for i in range(len(own) + 1) if i not in own)
        name = list(columns.indices)[index]
        raise DataError(f"{path}: sample {missing} of problem {name!r} is missing, though a later one is there")


def _counts_of_csv(path: Path, content: bytes) -> Counts:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path} is neither JSON lines nor CSV: not UTF-8") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    rows: dict[str, tuple[int, int]] = {}
    try:
        if not {"problem_id", "n", "c"} <= set(reader.fieldnames or ()):
            raise DataError(f"{path} is neither JSON lines nor CSV with the columns problem_id,n,c")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            problem_id = row["problem_id"]
            if not problem_id:
                raise DataError(f"{where}: the problem_id is empty")
            if problem_id in rows:
                raise DataError(f"{where}: problem {problem_id!r} is there twice")
            rows[problem_id] = _csv_counts(row, where)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not CSV, {error}") from None
    if not rows:
        raise DataError(f"{path} is empty: it holds no problems")
    n, c = np.array(list(rows.values()), dtype=np.int64).T
    return Counts(tuple(rows), n, c, np.zeros(len(n), dtype=np.int64))


def _csv_counts(row: Mapping[str, str | None], where: str) -> tuple[int, int]:
    n, c = (_csv_count(row[key], key, where) for key in ("n", "c"))
    if c > n:
        raise DataError(f"{where}: c = {c} is larger than n = {n}")
    return n, c


def _csv_count(value: str | None, key: str, where: str) -> int:
    value = (value or "").strip()
    if not (value.isascii() and value.isdecimal() and len(value) < 19):
        raise DataError(f"{where}: {key} must be a whole number >= 0, got {value!r}")
    return int(value)
