"""Values of cells: text, numbers, missing ones, and tables that a file holds as JSON text."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from ngrpo.errors import DataError
from ngrpo.grading.extract import last_boxed
from ngrpo.tasks.table_rows import TableRow

_MISSING = {"nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity", "none", "null", "<na>"}
_GROUND_TRUTH = ("target", "answer", "ground_truth", "reference", "solution")


class NoAnswerError(DataError):
    """A reference is missing, empty, not finite, or a worked solution that declares no answer."""


def cell(row: TableRow, column: str) -> Any:
    """Returns the value under a column, None where it is absent; a dot reaches into tables, JSON text too.

    >>> cell({"reward_model": '{"ground_truth": "7"}'}, "reward_model.ground_truth")
    '7'
    """
    if column in row:
        return row[column]
    value: Any = row
    for key in column.split("."):
        value = table_in(value)
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def is_numeric(rows: Sequence[TableRow], column: str) -> bool:
    """Returns whether all values of a column are numbers but for some that mean a missing one, such as "nan"."""
    values = [_single(cell(row, column)) for row in rows]
    known = [value for value in values if not (is_empty(value) or _means_missing(value))]
    return bool(known) and all(map(_is_number, known))


def reference_text(value: Any, where: str, *, numeric: bool) -> str:
    """Returns the text of a reference cell: plain, alone in a list, or inside verl's table of the ground truth.

    Args:
        value: the cell.
        where: file, row and column, for messages.
        numeric: the column holds numbers, so that the text "nan" is a missing one.

    Raises:
        DataError: for a value that is missing, empty, not finite or not text.
    """
    table = table_in(value)
    if isinstance(table, dict) and (isinstance(value, dict) or not table.keys().isdisjoint(_GROUND_TRUTH)):
        value = _ground_truth(table)
    value = _single(value)
    if is_empty(value):
        raise NoAnswerError(f"{where} is missing or empty")
    if (numeric or isinstance(value, float)) and _means_missing(value):
        raise NoAnswerError(f"{where} is {value}, expected a finite number")
    return text_of(value, where)


def text_of(value: Any, where: str) -> str:
    """Returns the text of a cell, of a number its digits.

    Raises:
        DataError: for a value that is missing, empty, not finite or not text.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column of numbers with a gap is read as floats: 27.0 was written 27
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"{where} is {value}, expected text or a finite number")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise DataError(f"{where} is missing or empty")
    if not isinstance(value, str):
        raise DataError(f"{where} must be text, got {type(value).__name__}")
    return value


def tables_in(value: Any) -> Any:
    """A list of tables that a file holds as text; any other value as it is ("[1,2]" is mathematics)."""
    parsed = _json_in(value, "[")
    return parsed if parsed and all(isinstance(item, dict) for item in parsed) else value


def is_empty(value: Any) -> bool:
    """Returns whether a cell holds nothing: None, an empty list or a blank text."""
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _means_missing(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, str) and value.strip().lower() in _MISSING


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ground_truth(table: TableRow) -> Any:
    r"""The solution's box before `target`: MATH's targets in verl's files have lost white space and line breaks.

    There `\pi a^2` became `\pia^2` and the `\\` of every matrix a single backslash, which no answer can
    equal.
    """
    solution = table.get("solution")
    boxed = last_boxed(solution) if isinstance(solution, str) else None
    return boxed or next((table[key] for key in _GROUND_TRUTH if table.get(key) is not None), None)


def table_in(value: Any) -> Any:
    """A table that a CSV or JSON file holds as text; any other value as it is ("{3}" is mathematics)."""
    parsed = _json_in(value, "{")
    return parsed if parsed and isinstance(parsed, dict) else value


def _json_in(value: Any, opening: str) -> Any:
    if not (isinstance(value, str) and value.lstrip().startswith(opening)):
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):  # also an integer of more than 4,300 digits
        return None
