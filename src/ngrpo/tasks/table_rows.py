"""Reading rows: from a file, from a folder of `save_to_disk`, or from the Hugging Face hub."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from ngrpo.choices import Split
from ngrpo.errors import DataError, error_line
from ngrpo.storage import is_lfs_pointer

TableRow = dict[str, Any]


def read_rows(path: str | Path, split: Split = "train") -> list[TableRow]:
    """Returns the rows of a file, in its order; the ending decides how it is read (`READERS`).

    Args:
        path: a .jsonl, .json (lines, or one array of objects), .parquet, .csv or .tsv file, the text formats also
            compressed (.jsonl.gz); or a folder that `save_to_disk` of the `datasets` library wrote; `~` is the home
            folder.
        split: the split that is read of a folder with several.

    Raises:
        DataError: for a file that is missing, of an unknown ending, empty or malformed.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        rows = _read_saved_folder(file, split)
    elif not file.is_file():
        raise DataError(f"{path}: no such file")
    elif not is_readable(file):
        raise DataError(f"{path}: unknown ending '{file.suffix}', allowed: {', '.join(READERS)}, and .gz after them")
    else:
        rows = _read_file(file, path)
    if not rows:
        raise DataError(f"{path}: holds no rows")
    return rows


def _read_file(file: Path, path: str | Path) -> list[TableRow]:
    try:
        if is_lfs_pointer(file):
            raise DataError(f"{path} is a Git LFS pointer, not the file itself: fetch it with git lfs pull")
        return READERS[_ending(file)](file)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def is_readable(path: str | PurePath) -> bool:
    """Returns whether the ending of a path is one that `read_rows` knows.

    >>> is_readable("rows.TSV.gz"), is_readable("rows.parquet.gz"), is_readable("rows.gz")
    (True, False, False)
    """
    ending = _ending(PurePath(path))
    return ending in READERS and not (ending == ".parquet" and PurePath(path).suffix.lower() == ".gz")


def _ending(file: PurePath) -> str:
    return (PurePath(file.stem) if file.suffix.lower() == ".gz" else file).suffix.lower()


def _text_of(file: Path) -> str:
    if file.suffix.lower() != ".gz":
        return file.read_bytes().decode("utf-8-sig")
    with gzip.open(file) as opened:
        return opened.read().decode("utf-8-sig")


def _read_saved_folder(folder: Path, split: Split) -> list[TableRow]:
    if not any((folder / name).is_file() for name in ("state.json", "dataset_dict.json")):
        raise DataError(
            f"{folder} is a folder, expected a file ending in {', '.join(READERS)}, or a folder of save_to_disk"
        )
    import datasets

    try:
        loaded = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder}: not a folder of save_to_disk ({error_line(error)})") from None
    if isinstance(loaded, datasets.DatasetDict):
        names = list(loaded)
        wanted = split if split in names or len(names) != 1 else names[0]
        if wanted not in names:
            raise DataError(f"{folder}: no split '{wanted}', found: {', '.join(map(str, names)) or 'none'}")
        loaded = loaded[wanted]
    return [dict(row) for row in loaded]


def read_hub_rows(
    dataset: str,
    split: str,
    instead: str,
    *,
    subset: str | None = None,
    kept: Sequence[str] = (),
    distinct: str = "",
) -> list[TableRow]:
    """Returns the rows of a dataset on the Hugging Face hub, from its local cache where it has one.

    Args:
        dataset: the hub id, or a folder that the `datasets` library loads.
        split: the split's name there.
        instead: what a user without the hub can do, for the message.
        subset: the name of a configuration there; None for the default.
        kept: columns that are read, those that are there; empty for all.
        distinct: a column, or TABLE.KEY, of whose rows with equal values only the first is read; empty for all.

    Raises:
        DataError: when the hub cannot be reached or does not have it.
    """
    import datasets

    try:
        loaded = datasets.load_dataset(dataset, *([subset] if subset else []), split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"the dataset {dataset} ({split}) could not be loaded: {reason}; {instead}") from None
    if kept:
        loaded = loaded.select_columns([name for name in loaded.column_names if name in kept])
    if distinct and distinct.partition(".")[0] in loaded.column_names:
        loaded = loaded.select(_first_rows(loaded, distinct))
    return [dict(row) for row in loaded]


def _first_rows(loaded: Any, column: str) -> list[int]:
    """The place of the first row of each value; by columns, for DAPO-Math-17k has 1.8 million rows."""
    import pyarrow.compute

    name, _, key = column.partition(".")
    values = loaded.data.column(name)
    if key:
        values = pyarrow.compute.struct_field(values, key)
    first: dict[Any, int] = {}
    for place, value in enumerate(values.to_pylist()):
        first.setdefault(value, place)
    return list(first.values())


def _read_json_lines(file: Path) -> list[TableRow]:
    text = _text_of(file)
    if _ending(file) == ".json" and text.lstrip().startswith("["):
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
    with io.StringIO(_text_of(file), newline="") as lines:
        reader = csv.reader(lines, strict=True, delimiter="\t" if _ending(file) == ".tsv" else ",")
        try:
            header = next(reader, [])
            cells = [row for row in reader if row]
        except csv.Error as error:
            kind = "TSV" if _ending(file) == ".tsv" else "CSV"
            raise DataError(f"{file}, line {reader.line_num}: not {kind} ({error})") from None
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
    ".tsv": _read_csv,
}
