"""A killed or failing writer leaves the old state or the new one, never half of it."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngrpo.errors import DataError
from ngrpo.storage import (
    append_json_lines,
    atomic_file,
    atomic_folder,
    json_line,
    lines_from_end,
    partial_path,
    read_json_lines,
    remove_partial,
    write_json,
)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_a_line_gives_back_its_record(record: dict[str, object]) -> None:
    line = json_line(record)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == record
    assert json_line(json.loads(line)) == line


def test_what_json_does_not_have_becomes_null_at_any_depth() -> None:
    record = {
        "a": float("nan"),
        "b": [float("inf"), {"c": -float("inf")}],
        "d": np.float32("nan"),
        "e": (1.5,),
    }
    assert json.loads(json_line(record)) == {"a": None, "b": [None, {"c": None}], "d": None, "e": [1.5]}


def test_numpy_scalars_and_paths_become_plain_values() -> None:
    record = {"a": np.int64(3), "b": np.float32(0.5), "c": np.bool_(True), "d": Path("x/y")}
    assert json_line(record) == b'{"a": 3, "b": 0.5, "c": true, "d": "x/y"}\n'


def test_a_lone_surrogate_survives() -> None:
    record = {"text": "\\\ud800 \\ud800 ²"}
    line = json_line(record)
    line.decode("utf-8")
    assert json.loads(line) == record


def test_an_object_that_is_no_json_value_is_refused() -> None:
    with pytest.raises(TypeError, match="not a JSON value"):
        json_line({"a": object()})


def test_key_order_is_kept() -> None:
    assert json_line({"b": 1, "a": 2}) == b'{"b": 1, "a": 2}\n'


@pytest.mark.parametrize("torn", [b"", b'{"step": 3', b"\0\0\0", b'{"text": "\xe2\x82'])
def test_a_torn_last_line_is_left_out(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "lines.jsonl"
    append_json_lines(path, [{"step": 1}, {"step": 2}])
    with path.open("ab") as file:
        file.write(torn)
    assert list(read_json_lines(path)) == [{"step": 1}, {"step": 2}]


def test_a_whole_last_line_without_newline_counts(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}')
    assert list(read_json_lines(path)) == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize(("line", "message"), [("{", "not JSON"), ("[1]", "expected a JSON object")])
def test_a_malformed_line_in_the_middle_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text(f'{{"step": 1}}\n{line}\n{{"step": 3}}\n')
    with pytest.raises(DataError, match=f"line 2: {message}"):
        list(read_json_lines(path))


def test_a_file_is_replaced_only_on_success(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    write_json(path, {"a": 1})

    def fail_halfway() -> None:
        with atomic_file(path) as file:
            file.write(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_halfway()
    assert json.loads(path.read_text()) == {"a": 1}
    assert names(tmp_path) == ["config.json"]


def test_a_folder_appears_only_on_success(tmp_path: Path) -> None:
    path = tmp_path / "model"

    def fail_halfway() -> None:
        with atomic_folder(path) as folder:
            (folder / "weights").write_bytes(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_halfway()
    assert names(tmp_path) == []
    with atomic_folder(path) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "weights").write_bytes(b"whole")
        assert not path.exists()
    assert (path / "sub" / "weights").read_bytes() == b"whole"
    assert names(tmp_path) == ["model"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for name in ("old", "new"):
        with atomic_folder(path) as folder:
            (folder / name).touch()
    assert names(path) == ["new"]
    assert names(tmp_path) == ["model"]


def test_what_a_killed_writer_leaves_is_recognised_and_removed(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from ngrpo.storage import atomic_file, atomic_folder
root = Path(sys.argv[1])
with atomic_file(root / "a.json") as file, atomic_folder(root / "model") as folder:
    (folder / "weights").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    leftovers = {partial_path(tmp_path / "a.json"), partial_path(tmp_path / "model")}
    assert set(tmp_path.iterdir()) == leftovers
    (tmp_path / ".hidden").touch()
    remove_partial(tmp_path)
    assert names(tmp_path) == [".hidden"]


@given(
    lines=st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"")), max_size=8),
    torn=st.booleans(),
    at_once=st.integers(1, 9),
)
def test_lines_from_the_end_are_the_lines(lines: list[bytes], torn: bool, at_once: int) -> None:
    content = b"\n".join(lines) + (b"" if torn else b"\n")
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("ngrpo.storage._BYTES_AT_ONCE", at_once)
        path = Path(folder) / "lines"
        path.write_bytes(content)
        found = list(lines_from_end(path))
    assert [line for _, line in reversed(found)] == re.findall(rb"[^\n]*\n|[^\n]+", content)
    assert b"".join(line for _, line in reversed(found)) == content
    assert all(content[offset:].startswith(line) for offset, line in found)
