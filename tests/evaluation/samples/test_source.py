"""Files, pipes, standard input, links that run in a circle, gzip and Git LFS."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ngrpo.errors import DataError
from ngrpo.evaluation.samples.counts import read_counts

TEXT = "id,correct,level\na,1,3\na,0,3\nb,0,4\nb,0,4\n"
COMMAND = f"{sys.executable} -c 'from ngrpo.cli.main import main; main()' passk"


def shell(command: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["bash", "-c", command], input=text, capture_output=True, check=False)


@pytest.mark.parametrize("content", [TEXT.encode(), gzip.compress(TEXT.encode())], ids=["plain", "gzip"])
@pytest.mark.parametrize("argument", ["-", "/dev/stdin", "<(cat)"])
def test_pipes_are_read_as_often_as_needed(content: bytes, argument: str) -> None:
    found = shell(f"{COMMAND} {argument} --by level --json", content)
    assert found.returncode == 0, found.stderr
    summary = json.loads(found.stdout)
    assert summary["pass_at_k"] == {"1": 0.25, "2": 0.5}
    assert summary["groups"]["level 3"]["pass_at_k"]["2"] == 1.0


def test_a_named_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(TEXT,))
    writer.start()
    assert read_counts(pipe).c.tolist() == [1, 0]
    writer.join()


def test_links_in_a_circle_are_one_line(tmp_path: Path) -> None:
    loop = tmp_path / "loop.jsonl"
    loop.symlink_to(loop)
    for command in ("passk", "grade"):
        found = shell(f"{COMMAND.removesuffix('passk')}{command} {loop}")
        assert found.returncode == 1
        assert found.stderr.decode().startswith("ngrpo: ")
        assert found.stderr.count(b"\n") == 1
    with pytest.raises(DataError, match=r"cannot read .*loop.jsonl: Too many levels of symbolic links"):
        read_counts(loop)


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    for name in ("samples.jsonl", "problems.parquet"):
        path = tmp_path / name
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
        for command in ("passk", "grade"):
            found = shell(f"{COMMAND.removesuffix('passk')}{command} {path}")
            assert found.returncode == 1
            assert found.stderr.decode() == (
                f"ngrpo: {path} is a Git LFS pointer, not the file itself: fetch it with git lfs pull\n"
            )


def test_a_damaged_gzip_file(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(TEXT.encode())[:-12])
    with pytest.raises(DataError, match=r"cannot read .*t.csv.gz: damaged gzip file"):
        read_counts(path)
