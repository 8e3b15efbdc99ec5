"""Counts per problem, which is all that Pass@k needs of a file of graded completions.

What a file may be is in `ngrpo.evaluation.samples.contents`, which formats there are in `...samples.registry`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.samples.aggregates import row_hint
from ngrpo.evaluation.samples.contents import Contents, contents_of, json_object
from ngrpo.evaluation.samples.entry import CORRECT, NO_CHOICES, UNGRADED, Choices, CountRow, Entry, Format, Identity
from ngrpo.evaluation.samples.facts import Facts, facts_of
from ngrpo.evaluation.samples.fast_reader import arrow_verdicts
from ngrpo.evaluation.samples.formats import format_of
from ngrpo.evaluation.samples.grade_columns import VerdictColumns, Verdicts
from ngrpo.evaluation.samples.own import OwnFormat
from ngrpo.evaluation.samples.reference import ReferenceFormat
from ngrpo.evaluation.samples.source import opened, size_of

FAST_FROM = 2**20
"""From this many bytes on it pays to load pyarrow."""
FAST_LINE = 4096
"""Up to this many bytes in the first line: of longer ones `json` is as fast (benchmarks/passk.py --completion 5000)."""

CANONICAL = "columns: id 'problem_id', samples 'n', correct 'c'"
_PLACE = re.compile(r"(line|row|sample) \d+[:,]")


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Per problem, in the order of the file: n graded completions, c of them correct, and the ungraded.

    `reasons` counts, over all problems, why completions are ungraded; those whose lines do not say so are not in it.
    `facts` and, by problem, `identities` are what lines hold beside verdicts; counts as CSV have none.
    `reading` says what was chosen in reading the file (columns, scorer, ...), empty where there was no choice.
    """

    problem_ids: tuple[str, ...]
    n: NDArray[np.int64]
    c: NDArray[np.int64]
    ungraded: NDArray[np.int64]
    reasons: Mapping[str, int] = field(default_factory=dict)
    facts: Facts | None = None
    identities: tuple[Identity, ...] = ()
    reading: str = ""

    def of(self, problems: NDArray[np.int64]) -> Counts:
        """Returns the counts of some problems, by their indices, without `reasons`, which are not by problem."""
        return Counts(
            problem_ids=tuple(self.problem_ids[at] for at in problems),
            n=self.n[problems],
            c=self.c[problems],
            ungraded=self.ungraded[problems],
            facts=None if self.facts is None else self.facts.of(problems),
            identities=tuple(self.identities[at] for at in problems) if self.identities else (),
            reading=self.reading,
        )


def read_counts(path: str | Path, choices: Choices = NO_CHOICES) -> Counts:
    """Returns the counts of a file of graded completions, its format recognised by its content.

    The key of a sample is (problem, seed, sample): evaluations with several sampling seeds may stand in one file, and
    then a problem's n is their sum. Empty lines are passed over.

    Args:
        path: a file, a pipe, or `-` for standard input; unpacked if it is gzip.
        choices: a metric, a filter or columns, where the file has several.

    Raises:
        DataError: when the file is missing, empty or of no known format; for a malformed line, a missing key
            or an impossible value (with the line number); for a sample that is there twice or lacking; for a file of
            several training steps, filters, metrics or scorers without a choice; for aggregated results.
        ConfigError: for a choice that the format does not have.
    """
    path = Path(path)
    with _located(path), opened(path) as file:
        fast = _fast_verdicts(file, choices) if size_of(file) >= FAST_FROM else None
        if fast is not None:
            return _counts(fast, "")
        found, verdicts = _checked(file, lambda _entry: None, choices)
    return _of_rows(found) if found.counts else _counts(verdicts, found.reading)


def _counts(verdicts: Verdicts, reading: str) -> Counts:
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
        reading=reading,
    )


def _of_rows(found: Format) -> Counts:
    n, c = np.array([(row.n, row.c) for row in found.counts], dtype=np.int64).T
    ids = tuple(row.problem_id for row in found.counts)
    # The names that were the only ones once need no mention.
    reading = "" if found.reading == CANONICAL else found.reading
    return Counts(ids, n, c, np.zeros(len(n), dtype=np.int64), reading=reading)


def _facts(verdicts: Verdicts) -> Facts | None:
    if verdicts.text is None or verdicts.flags is None:
        return None
    return facts_of(verdicts.problem, verdicts.text, verdicts.flags, len(verdicts.problem_ids))


def read_entries(path: str | Path, take: Callable[[Entry], None], choices: Choices = NO_CHOICES) -> None:
    """Hands the entries of a file that has answers to `take`, checked as `read_counts` checks.

    Raises:
        DataError: as `read_counts`; for a file that has no answers.
        ConfigError: as `read_counts`.
    """
    path = Path(path)
    with _located(path), opened(path) as file:
        found, _ = _checked(file, take, choices)
    if found.counts:
        raise DataError(f"{path} has no answers: it holds counts")
    if not found.has_answers:
        where = f": {found.name} have them under {found.answer_key}" if found.answer_key else ""
        raise DataError(f"{path} has no answers{where}")


def read_answers(path: str | Path, choices: Choices = NO_CHOICES) -> Verdicts | None:
    """Returns verdicts and answers of a large file in which nothing is unusual; None for others: see `read_entries`."""
    with opened(Path(path)) as file:
        return _fast_verdicts(file, choices, with_answers=True) if size_of(file) >= FAST_FROM else None


def read_rows_and_entries(
    path: Path,
    take: Callable[[Entry], None],
    see: Callable[[int, Mapping[str, Any]], None],
    choices: Choices = NO_CHOICES,
) -> None:
    """Hands each row to `see`, with its number, and its entries to `take`; of counts, one entry for each problem.

    Raises:
        DataError, ConfigError: as `read_counts`.
    """
    with _located(path), opened(path) as file:
        found = _entries(contents_of(file), take, choices, see)
        for row in found.counts:
            take(_entry_of(row))


def _entry_of(row: CountRow) -> Entry:
    return Entry(row.problem_id, 0, 0, UNGRADED, row.line)


@contextmanager
def _located(path: Path) -> Iterator[None]:
    """Names the file in errors about what it holds."""
    try:
        yield
    except (DataError, ConfigError) as error:
        text = str(error)
        if text.startswith(("cannot read", str(path))):
            raise
        joint = " " if text.startswith(("is ", "holds ", "has ", "two ")) else ", " if _PLACE.match(text) else ": "
        raise type(error)(f"{path}{joint}{text}") from None


def _checked(file: IO[bytes], take: Callable[[Entry], None], choices: Choices) -> tuple[Format, Verdicts]:
    columns = VerdictColumns()

    def add(entry: Entry) -> None:
        columns.add(entry)
        take(entry)

    contents = contents_of(file)
    found = _entries(contents, add, choices)
    verdicts = columns.verdicts()
    verdicts.check(numbered=found.numbered, place=contents.place)
    return found, verdicts


def _fast_verdicts(file: IO[bytes], choices: Choices, *, with_answers: bool = False) -> Verdicts | None:
    """Returns the verdicts of a file in which nothing at all is wrong, None for any other."""
    try:
        line = next((line for line in file if line.strip()), b"")
        if len(line) > FAST_LINE or not line.startswith(b"{"):
            return None
        first = json_object(line)
        found = format_of(first, choices)
        if not isinstance(found, OwnFormat | ReferenceFormat):
            return None
        file.seek(0)
        verdicts = arrow_verdicts(file, first, with_answers=with_answers)
        if verdicts is not None:
            verdicts.check(numbered=found.numbered)
        return verdicts
    except (ConfigError, DataError):
        return None  # reported by the reader that goes line by line
    finally:
        file.seek(0)


def _entries(
    contents: Contents,
    take: Callable[[Entry], None],
    choices: Choices,
    see: Callable[[int, Mapping[str, Any]], None] = lambda _number, _row: None,
) -> Format:
    found: Format | None = None
    for number, row in contents.rows:
        try:
            if found is None:
                found = format_of(row, choices, contents.place)
                if not choices.columns and (hint := row_hint(row)):
                    raise DataError(hint)
            see(number, row)
            for entry in found.read(row, number):
                take(entry)
        except KeyError as error:
            raise DataError(f"{contents.place} {number}: the key {error} is missing") from None
        except DataError as error:
            raise DataError(f"{contents.place} {number}: {error}") from None
    if found is None:
        raise DataError("is empty: it holds no samples")
    for entry in found.finish():
        try:
            take(entry)
        except DataError as error:
            raise DataError(f"{contents.place} {entry.line}: {error}") from None
    return found
