"""A column of the problems of samples files, such as their level, source or template, for groups and clusters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ngrpo.errors import DataError
from ngrpo.evaluation.samples.counts import read_rows_and_entries
from ngrpo.evaluation.samples.entry import NO_CHOICES, Choices, Entry, problem_id_of
from ngrpo.evaluation.samples.facts import shortened
from ngrpo.tasks.cells import cell
from ngrpo.tasks.problem_columns import IDS, recognised
from ngrpo.tasks.table_rows import TableRow, read_rows

TABLES = ("doc", "metadata", "extra_info")
"""Columns of tables that are searched after the line itself."""

Labels = Mapping[str, str]
"""The value of a column, as text, by the id of the problem."""


def read_labels(path: str | Path, column: str, choices: Choices = NO_CHOICES) -> dict[str, str]:
    """Returns a column of a samples file by problem: a key of its lines, or of the tables `TABLES` in them.

    Args:
        path: what `read_counts` reads.
        column: its name; a dot reaches into a table.
        choices: as in `read_counts`.

    Raises:
        DataError: for a problem without a value or with two, or as `read_counts`.
        ConfigError: as `read_counts`.
    """
    path = Path(path)
    by_line: dict[int, str | None] = {}
    labels: dict[str, str] = {}

    def see(number: int, row: Mapping[str, Any]) -> None:
        by_line[number] = _label(row, column)

    def take(entry: Entry) -> None:
        _add(labels, entry.problem_id, by_line[entry.line], f"{path}: problem {entry.problem_id!r}", column)

    read_rows_and_entries(path, take, see, choices)
    return labels


def labels_of_table(path: str | Path, column: str) -> dict[str, str]:
    """Returns a column of a table of problems by their id: JSON lines, CSV or parquet.

    The id is the first of the columns that tasks recognise (`id`, `problem_id`, ...), else the row's number from 0.

    Raises:
        DataError: for a row without a value, an id with two values, or as `read_rows`.
    """
    rows: Sequence[TableRow] = read_rows(path)
    name = recognised(rows, IDS)
    labels: dict[str, str] = {}
    for number, row in enumerate(rows):
        problem_id = problem_id_of(cell(row, name)) if name else str(number)
        _add(labels, problem_id, _label(row, column), f"{path}: problem {problem_id!r}", column)
    return labels


def chosen_labels(labels: Iterable[Labels], problem_ids: Iterable[str], column: str) -> dict[str, str]:
    """Returns the labels of some problems, from one file or from several that must agree.

    Raises:
        DataError: for a problem that has no label or two.
    """
    merged: dict[str, str] = {}
    for of_file in labels:
        for problem_id, label in of_file.items():
            _add(merged, problem_id, label, f"problem {problem_id!r}", column)
    for problem_id in problem_ids:
        if problem_id not in merged:
            raise DataError(f"problem {problem_id!r} has no '{column}'")
    return {problem_id: merged[problem_id] for problem_id in problem_ids}


def groups_of(labels: Labels) -> dict[str, list[str]]:
    """Returns the problems of each label, numbers in their order and before texts.

    >>> groups_of({"p": "10", "q": "2", "r": "10"})
    {'2': ['q'], '10': ['p', 'r']}
    """
    groups: dict[str, list[str]] = {}
    for problem_id, label in labels.items():
        groups.setdefault(label, []).append(problem_id)
    return dict(sorted(groups.items(), key=lambda group: _order(group[0])))


def _order(label: str) -> tuple[bool, float, str]:
    try:
        return False, float(label), label
    except ValueError:
        return True, 0.0, label


def _label(row: Mapping[str, Any], column: str) -> str | None:
    for name in (column, *(f"{table}.{column}" for table in TABLES)):
        value = cell(dict(row), name)
        if isinstance(value, str | int | float) and value != "":
            return str(value)
    return None


def _add(labels: dict[str, str], problem_id: str, label: str | None, where: str, column: str) -> None:
    if label is None:
        raise DataError(f"{where} has no '{column}'; a table of problems with this column can be given by --problems")
    known = labels.setdefault(problem_id, label)
    if known != label:
        raise DataError(f"{where} has two values of '{column}': {shortened(known)} and {shortened(label)}")
