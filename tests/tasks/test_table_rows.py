"""Compressed and tab-separated files; test_file_task.py has the other formats."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ngrpo.errors import DataError
from ngrpo.tasks.table_rows import read_rows

TEXTS = {
    "rows.jsonl": '{"q": "é\u2028", "a": "1"}\n{"q": "r", "a": "2"}\n',
    "rows.json": '[{"q": "é\u2028", "a": "1"}, {"q": "r", "a": "2"}]',
    "rows.csv": "q,a\né\u2028,1\nr,2\n",
    "rows.tsv": "q\ta\né\u2028\t1\nr\t2\n",
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_formats_plain_and_compressed(tmp_path: Path, name: str) -> None:
    plain, packed = tmp_path / name, tmp_path / f"{name}.GZ"
    plain.write_text(TEXTS[name], encoding="utf-8")
    packed.write_bytes(gzip.compress(TEXTS[name].encode()))
    assert read_rows(plain) == read_rows(packed) == [{"q": "é\u2028", "a": "1"}, {"q": "r", "a": "2"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl.gz", b"{}", "cannot be read (Not a gzipped file"),
        ("rows.jsonl.gz", gzip.compress(b'{"a": 1}' * 100)[:-9], "cannot be read (Compressed file ended"),
        ("rows.tsv.gz", gzip.compress(b"a\tb\n1\n"), "row 1: 1 cells under 2 column names"),
        ("rows.tsv", b'a\n"b"c\n', "line 2: not TSV"),
        ("rows.gz", gzip.compress(b"x"), "unknown ending '.gz', allowed: .jsonl, .json, .parquet, .csv, .tsv, and .gz"),
        ("rows.parquet.gz", gzip.compress(b"x"), "unknown ending '.gz'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # gzip writes the time into its header
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_rows(tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
