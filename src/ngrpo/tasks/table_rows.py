"""Reading rows: from a JSON lines, parquet or CSV file, or from the Hugging Face hub."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ngrpo.errors import DataError, error_line
from ngrpo.storage import is_lfs_pointer

TableRow = dict[str, Any]


def read_rows(path: str | Path) -> list[TableRow]:
    """Returns the rows of a file, in its order; the ending decides how it is read (`READERS`).

    Args:
        path: a .jsonl, .json (lines, or one array of objects), .parquet or .csv file; `~` is the home folder.

    Raises:
        DataError: for a file that is missing, of an unknown ending, empty or malformed.
    """
    file = Path(path).expanduser()
    reader = READERS.get(file.suffix.lower())
    if file.is_dir():
        raise DataError(f"{path} is a folder, expected a file ending in {', '.join(READERS)}")
    if not file.is_file():
        raise DataError(f"{path}: no such file")
    if reader is None:
        raise DataError(f"{path}: unknown ending '{file.suffix}', allowed: {', '.join(READERS)}")
    try:
        if is_lfs_pointer(file):
            raise DataError(f"{path} is a Git LFS pointer, not the file itself: fetch it with git lfs pull")
        rows = reader(file)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not rows:
        raise DataError(f"{path}: holds no rows")
    return rows


def read_hub_rows(dataset: str, split: str, instead: str) -> list[TableRow]:
    """Returns the rows of a dataset on the Hugging Face hub, from its local cache where it has one.

    Args:
        dataset: the hub id.
        split: the split's name there.
        instead: what a user without the hub can do, for the message.

    Raises:
        DataError: when the hub cannot be reached or does not have it.
    """
    import datasets

    try:
        loaded = datasets.load_dataset(dataset, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"the dataset {dataset} ({split}) could not be loaded: {reason}; {instead}") from None
    return [dict(row) for row in loaded]


def _read_json_lines(file: Path) -> list[TableRow]:
    text = file.read_text(encoding="utf-8-sig")
    if file.suffix.lower() == ".json" and text.lstrip().startswith("["):
        rows = _parsed(text, f"{file}")
        return [_as_row(row, f"{file}, row {number}") for number, row in enumerate(rows, start=1)]
    # Not splitlines(): JSON text may hold the other characters that it takes for line ends.
    lines = [(f"{file}, line {number}", line) for number, line in enumerate(text.split("\n"), start=1)]
    return [_as_row(_parsed(line, where), where) for where, line in lines if line.strip()]


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error.msg} at column {error.colno})") from None
    except RecursionError:
        raise DataError(f"{where}: not JSON that can be read (nested too deep)") from None
    except ValueError:
        raise DataError(f"{where}: not JSON that can be read (an integer of more than 4,300 digits)") from None


def _as_row(value: object, where: str) -> TableRow:
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected an object with named columns, got {type(value).__name__}")
    return value


def _read_parquet(file: Path) -> list[TableRow]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            rows: list[TableRow] = opened.read().to_pylist()
    except pyarrow.ArrowException as error:
        raise DataError(f"{file}: not a parquet file ({error_line(error)})") from None
    return rows


def _read_csv(file: Path) -> list[TableRow]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, strict=True)
        try:
            header = next(reader, [])
            cells = [row for row in reader if row]
        except csv.Error as error:
            raise DataError(f"{file}, line {reader.line_num}: not CSV ({error})") from None
    if len(set(header)) < len(header):
        raise DataError(f"{file}: two columns have the same name, found: {', '.join(header)}")
    for number, row in enumerate(cells, start=1):
        if len(row) != len(header):
            raise DataError(f"{file}, row {number}: {len(row)} cells under {len(header)} column names")
    return [dict(zip(header, row, strict=True)) for row in cells]


READERS: Mapping[str, Callable[[Path], list[TableRow]]] = {
    ".jsonl": _read_json_lines,
    ".json": _read_json_lines,
    ".parquet": _read_parquet,
    ".csv": _read_csv,
}
