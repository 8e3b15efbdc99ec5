"""The benchmark files are fetched once and only as the very files that are meant."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shared import SHARED

SCRIPT = Path(__file__).parents[2] / "scripts" / "fetch_benchmarks.py"
FILES = runpy.run_path(str(SCRIPT))["FILES"]


def fetch(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(tmp_path / "out"), "--source", (tmp_path / "copy").as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def repository(tmp_path: Path) -> None:
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no folder {SHARED}/data; NGRPO_SHARED may name another")
    for name, (path, _) in FILES.items():
        target = tmp_path / "copy" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((SHARED / "data" / name).read_bytes())


def test_every_file_is_fetched_and_checked(tmp_path: Path) -> None:
    repository(tmp_path)
    assert fetch(tmp_path).returncode == 0
    for name in FILES:
        assert (tmp_path / "out/data" / name).read_bytes() == (SHARED / "data" / name).read_bytes()


def test_another_file_is_refused_in_one_line(tmp_path: Path) -> None:
    first = tmp_path / "copy" / next(iter(FILES.values()))[0]
    first.parent.mkdir(parents=True)
    first.write_bytes(b"something else")
    done = fetch(tmp_path)
    assert done.returncode == 1
    assert "is another file: SHA-256" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    first.unlink()
    assert "cannot be fetched" in fetch(tmp_path).stderr
