"""One writer per folder: refused while the holder lives, free after its death, nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ngrpo.errors import ConfigError, LockedError
from ngrpo.folder_lock import LOCK, locked_folder

HOLDER = """
import sys, time
from pathlib import Path
from ngrpo.folder_lock import locked_folder
with locked_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockedError, match=f"is in use by process {holder.pid} on host "), locked_folder(folder):
            pass
        holder.kill()
    assert (folder / LOCK).exists()
    with locked_folder(folder):
        assert json.loads((folder / LOCK).read_text())["pid"] == os.getpid()
    assert list(folder.iterdir()) == []


def test_the_same_process_cannot_hold_it_twice(tmp_path: Path) -> None:
    with locked_folder(tmp_path), pytest.raises(LockedError), locked_folder(tmp_path):
        pass


def test_a_folder_that_was_made_for_nothing_goes(tmp_path: Path) -> None:
    with locked_folder(tmp_path / "a"):
        pass
    assert not (tmp_path / "a").exists()
    with locked_folder(tmp_path / "b"):
        (tmp_path / "b" / "kept").touch()
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["kept"]


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot make the folder .*: File exists"), locked_folder(tmp_path / "file"):
        pass


def test_a_text_that_is_no_holder_is_another_process(tmp_path: Path) -> None:
    with locked_folder(tmp_path):
        (tmp_path / LOCK).write_text("[")
        with pytest.raises(LockedError, match="is in use by another process"), locked_folder(tmp_path):
            pass
