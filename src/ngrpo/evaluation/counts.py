"""Counts per problem, which is all that Pass@k needs of a file of graded completions.

Files are JSON lines in one of the formats of `ngrpo.evaluation.formats`, or counts as CSV with `problem_id,n,c`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.arrow_lines import arrow_verdicts
from ngrpo.evaluation.entries import CORRECT, UNGRADED, Entry, Format, Identity
from ngrpo.evaluation.facts import Facts, facts_of
from ngrpo.evaluation.formats import OwnFormat, ReferenceFormat, format_of
from ngrpo.evaluation.verdicts import VerdictColumns, Verdicts

FAST_FROM = 2**20
"""From this many bytes on it pays to load pyarrow."""
FAST_LINE = 4096
"""Up to this many bytes in the first line: of longer ones `json` is as fast (benchmarks/passk.py --completion 5000)."""


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Per problem, in the order of the file: n graded completions, c of them correct, and the ungraded.

    `reasons` counts, over all problems, why completions are ungraded; those whose lines do not say so are not in it.
    `facts` and, by problem, `identities` are what lines hold beside verdicts; counts as CSV have none.
    """

    problem_ids: tuple[str, ...]
    n: NDArray[np.int64]
    c: NDArray[np.int64]
    ungraded: NDArray[np.int64]
    reasons: Mapping[str, int] = field(default_factory=dict)
    facts: Facts | None = None
    identities: tuple[Identity, ...] = ()

    def of(self, problems: NDArray[np.int64]) -> Counts:
        """Returns the counts of some problems, by their indices, without `reasons`, which are not by problem."""
        return Counts(
            problem_ids=tuple(self.problem_ids[at] for at in problems),
            n=self.n[problems],
            c=self.c[problems],
            ungraded=self.ungraded[problems],
            facts=None if self.facts is None else self.facts.of(problems),
            identities=tuple(self.identities[at] for at in problems) if self.identities else (),
        )


def read_counts(path: str | Path, *, metric: str | None = None, filter_name: str | None = None) -> Counts:
    """Returns the counts of a file of graded completions, its format recognised by its first line.

    The key of a sample is (problem, seed, sample): evaluations with several sampling seeds may stand in one file, and
    then a problem's n is their sum. Empty lines are passed over.

    Args:
        path: JSON lines in one of the formats of `ngrpo.evaluation.formats`, or CSV with `problem_id,n,c`.
        metric: of a sample log of lm-evaluation-harness: the metric that tells correct from wrong.
        filter_name: of such a log: the filter whose responses count.

    Raises:
        DataError: when the file is missing, empty or of no known format; for a malformed line, a missing key
            or an impossible value (with the line number); for a sample that is there twice or lacking; for a file of
            several training steps, filters or metrics.
        ConfigError: for a metric or a filter where the format has none.
    """
    path = Path(path)
    with _opened(path) as file:
        if not _first_line(path, file).lstrip().startswith(b"{"):
            if metric is not None or filter_name is not None:
                raise ConfigError(
                    f"{path}: a metric or a filter can be chosen in sample logs of lm-evaluation-harness only"
                )
            return _counts_of_csv(path, file.read())
        verdicts = _verdicts_of_lines(path, file, metric, filter_name)
    size = len(verdicts.problem_ids)
    problem, verdict = verdicts.problem, verdicts.verdict
    return Counts(
        problem_ids=verdicts.problem_ids,
        n=np.bincount(problem[verdict != UNGRADED], minlength=size),
        c=np.bincount(problem[verdict == CORRECT], minlength=size),
        ungraded=np.bincount(problem[verdict == UNGRADED], minlength=size),
        reasons=dict(verdicts.reasons),
        facts=_facts(verdicts),
        identities=verdicts.identities,
    )


def _facts(verdicts: Verdicts) -> Facts | None:
    if verdicts.text is None or verdicts.flags is None:
        return None
    return facts_of(verdicts.problem, verdicts.text, verdicts.flags, len(verdicts.problem_ids))


def read_entries(
    path: str | Path, take: Callable[[Entry], None], *, metric: str | None = None, filter_name: str | None = None
) -> None:
    """Hands the entries of a file of JSON lines that has answers to `take`, checked as `read_counts` checks.

    Raises:
        DataError: as `read_counts`; for a file that has no answers.
        ConfigError: as `read_counts`.
    """
    path = Path(path)
    with _opened(path) as file:
        if not _first_line(path, file).lstrip().startswith(b"{"):
            raise DataError(f"{path} has no answers: it holds counts, or is no file of JSON lines")
        found, _ = _checked(path, file, take, metric, filter_name)
    if not found.has_answers:
        raise DataError(f"{path} has no answers: {found.name} have them under {found.answer_key}")


def read_rows_and_entries(
    path: Path,
    take: Callable[[Entry], None],
    see: Callable[[int, dict[str, Any]], None],
    *,
    metric: str | None = None,
    filter_name: str | None = None,
) -> bool:
    """Hands each line of JSON to `see`, with its number, then its entries to `take`; returns False for a CSV file.

    Raises:
        DataError, ConfigError: as `read_counts`.
    """
    with _opened(path) as file:
        if not _first_line(path, file).lstrip().startswith(b"{"):
            return False
        _entries(path, file, take, metric, filter_name, see)
    return True


def _opened(path: Path) -> IO[bytes]:
    try:
        file = path.open("rb")
        file.peek(1)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    return file


def _first_line(path: Path, file: IO[bytes]) -> bytes:
    first = next((line for line in file if line.strip()), b"")
    file.seek(0)
    if not first:
        raise DataError(f"{path} is empty: it holds no samples")
    return first


def _verdicts_of_lines(path: Path, file: IO[bytes], metric: str | None, filter_name: str | None) -> Verdicts:
    if path.stat().st_size >= FAST_FROM and (fast := _fast_verdicts(path, file, metric, filter_name)) is not None:
        return fast
    return _checked(path, file, lambda _entry: None, metric, filter_name)[1]


def _checked(
    path: Path, file: IO[bytes], take: Callable[[Entry], None], metric: str | None, filter_name: str | None
) -> tuple[Format, Verdicts]:
    columns = VerdictColumns()

    def add(entry: Entry) -> None:
        columns.add(entry)
        take(entry)

    found = _entries(path, file, add, metric, filter_name)
    verdicts = columns.verdicts()
    try:
        verdicts.check(numbered=found.numbered)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return found, verdicts


def _fast_verdicts(path: Path, file: IO[bytes], metric: str | None, filter_name: str | None) -> Verdicts | None:
    """Returns the verdicts of a file in which nothing at all is wrong, None for any other."""
    try:
        line = _first_line(path, file)
        if len(line) > FAST_LINE:
            return None
        first = _object(line)
        found = format_of(first, metric, filter_name)
        if not isinstance(found, OwnFormat | ReferenceFormat):
            return None
        verdicts = arrow_verdicts(file, first)
        if verdicts is not None:
            verdicts.check(numbered=found.numbered)
        return verdicts
    except (ConfigError, DataError):
        return None  # said by the reader that goes line by line
    finally:
        file.seek(0)


def _entries(
    path: Path,
    file: Iterable[bytes],
    take: Callable[[Entry], None],
    metric: str | None,
    filter_name: str | None,
    see: Callable[[int, dict[str, Any]], None] = lambda _number, _row: None,
) -> Format:
    found: Format | None = None
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = _object(line)
            if found is None:
                found = format_of(row, metric, filter_name)
            see(number, row)
            for entry in found.read(row, number):
                take(entry)
        except KeyError as error:
            raise DataError(f"{path}, line {number}: the key {error} is missing") from None
        except (DataError, ConfigError) as error:
            raise type(error)(f"{path}, line {number}: {error}") from None
    if found is None:
        raise DataError(f"{path} is empty: it holds no samples")
    try:
        for entry in found.finish():
            take(entry)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return found


def _object(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        cut = "" if line.endswith(b"\n") else ", the line is cut off"
        raise DataError(f"not JSON{cut}") from None
    if not isinstance(row, dict):
        raise DataError("expected a JSON object")
    return row


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
