"""What a file holds as rows: JSON lines, a JSON document, CSV, TSV, parquet, or the zip of an inspect_ai log."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, NamedTuple

from ngrpo.errors import DataError, error_line
from ngrpo.evaluation.samples.aggregates import aggregate_hint
from ngrpo.evaluation.samples.entry import JsonRow
from ngrpo.evaluation.samples.formats import rows_of_document
from ngrpo.evaluation.samples.zip_log import zip_rows
from ngrpo.storage import LFS_HEAD

NumberedRows = Iterable[tuple[int, JsonRow]]


class Contents(NamedTuple):
    """The rows of a file with their numbers from 1, what a row is called, and whether it is JSON lines."""

    rows: NumberedRows
    place: str
    json_lines: bool = False


def contents_of(file: IO[bytes]) -> Contents:
    """Returns the rows of a file; those of JSON lines are read as they are asked for.

    Raises:
        DataError: for an empty file, one that is neither of these, and one that holds no samples.
    """
    first = next((line for line in file if line.strip()), b"")
    second = next((line for line in file if line.strip()), b"")
    file.seek(0)
    if not first:
        raise DataError("is empty: it holds no samples")
    if first.startswith(LFS_HEAD):
        raise DataError("is a Git LFS pointer, not the file itself: fetch it with git lfs pull")
    if first.startswith(b"PAR1"):
        return Contents(enumerate(_parquet_rows(file), 1), "row")
    if first.startswith(b"PK\x03\x04"):
        return Contents(enumerate(zip_rows(file), 1), "sample")
    opening = first.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if opening == b"{":
        return _of_object(file, first, alone=not second)
    if opening == b"[":
        return Contents(enumerate(_rows_of_array(_document(file)), 1), "row")
    return Contents(_csv_rows(file.read()), "line")


def json_object(line: bytes) -> dict[str, Any]:
    """Returns the object of a line of JSON; raises DataError for anything else."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        cut = "" if line.endswith(b"\n") else ", the line is cut off"
        raise DataError(_too_long(error) or f"not JSON{cut}") from None
    if not isinstance(row, dict):
        raise DataError("expected a JSON object")
    return row


def _too_long(error: Exception) -> str:
    digits = not isinstance(error, json.JSONDecodeError | UnicodeDecodeError) and "digits" in str(error)
    return "an integer of more than 4,300 digits" if digits else ""


def _of_object(file: IO[bytes], first: bytes, *, alone: bool) -> Contents:
    """A file that begins with {: JSON lines, unless its first line is no object or a whole document of its own."""
    try:
        document: Any = json_object(first)
        if not alone:
            return Contents(_lines(file), "line", json_lines=True)
    except DataError:
        try:
            document = json.loads(file.read())
        except (ValueError, RecursionError):
            document = None
        file.seek(0)
    rows = None if document is None else _rows_of_object(document)
    if rows is None:
        return Contents(_lines(file), "line", json_lines=True)
    return Contents(enumerate(rows, 1), "row")


def _lines(file: IO[bytes]) -> Iterator[tuple[int, JsonRow]]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                yield number, json_object(line)
            except DataError as error:
                raise DataError(f"line {number}: {error}") from None


def _document(file: IO[bytes]) -> Any:
    try:
        return json.loads(file.read())
    except (ValueError, RecursionError) as error:
        reason = _too_long(error) or (f"at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "")
        raise DataError(f"is not JSON{f' ({reason})' if reason else ''}") from None


def _rows_of_array(document: Any) -> list[JsonRow]:
    if hint := aggregate_hint(document):
        raise DataError(f"holds {hint}")
    if not document or not all(isinstance(row, dict) for row in document):
        raise DataError("is a JSON array, but not of objects with named columns")
    return list(document)


def _rows_of_object(document: Mapping[str, Any]) -> Iterable[JsonRow] | None:
    """Returns the rows of a document, None for one that may be a single line of JSON lines."""
    if hint := aggregate_hint(document):
        raise DataError(f"holds {hint}")
    rows = rows_of_document(document)
    if rows is not None:
        return rows
    lists = [value for value in document.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if len(lists) == 1 and all(isinstance(row, dict) for row in lists[0]):
        return lists[0]
    columns = _columns_of(document)
    if columns:
        return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    if document and all(isinstance(value, dict) for value in document.values()):
        return [{"id": key, **value} for key, value in document.items()]
    if document and all(isinstance(value, list) for value in document.values()):
        return [{"id": key, "correct": value} for key, value in document.items()]
    return None


def _columns_of(document: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Returns the columns of an object of columns (lists, or tables by row as pandas writes), empty for any other."""
    columns = {
        name: list(value.values()) if isinstance(value, dict) and list(value)[:1] == ["0"] else value
        for name, value in document.items()
    }
    if not columns or not all(isinstance(column, list) for column in columns.values()):
        return {}
    lengths = {len(column) for column in columns.values()}
    named = any(isinstance(value, str) for column in columns.values() for value in column[:1])
    known = not columns.keys().isdisjoint(("id", "problem_id", "task_id", "question_id", "correct", "passed", "index"))
    return columns if len(lengths) == 1 and len(columns) > 1 and (named or known) else {}


def _parquet_rows(file: IO[bytes]) -> list[JsonRow]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows: list[JsonRow] = pyarrow.parquet.read_table(io.BytesIO(file.read())).to_pylist()
    except pyarrow.ArrowException as error:
        raise DataError(f"is not a parquet file ({error_line(error)})") from None
    if not rows:
        raise DataError("is empty: it holds no samples")
    return rows


def _csv_rows(content: bytes) -> NumberedRows:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError("is neither JSON, parquet nor CSV: not UTF-8") from None
    header = text.lstrip().partition("\n")[0]
    delimiter = "\t" if "\t" in header else ";" if ";" in header and "," not in header else ","
    csv.field_size_limit(2**31 - 1)
    lines = io.StringIO(text.lstrip("\r\n"), newline="")
    reader = csv.reader(lines, skipinitialspace=True, strict=True, delimiter=delimiter)
    rows: list[tuple[int, JsonRow]] = []
    try:
        names = next(reader, [])
        for cells in reader:
            if cells and len(cells) != len(names):
                raise DataError(f"line {reader.line_num}: {len(cells)} cells under {len(names)} column names")
            if cells:
                rows.append((reader.line_num, dict(zip(names, cells, strict=True))))
    except csv.Error as error:
        raise DataError(f"line {reader.line_num}: not CSV, {error}") from None
    if len(names) < 2:
        raise DataError("is neither JSON lines, JSON, parquet nor CSV with named columns")
    if len(set(names)) < len(names):
        raise DataError(f"two columns have the same name, found: {', '.join(names)}")
    if not rows:
        raise DataError("is empty: it holds no samples")
    return rows
