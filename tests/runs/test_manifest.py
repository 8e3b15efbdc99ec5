"""The manifest of a checkpoint: every truncation, removal and flipped bit is found, and so is a changed log."""

from __future__ import annotations

from pathlib import Path

import pytest

from ngrpo.runs.manifest import MANIFEST, changed_log, damage, is_kept, write_manifest
from ngrpo.runs.run_dir import RunDir

FILES = {"model.safetensors": b"w" * 999, "trainer_state.json": b"{}", "critic/model.safetensors": b"v" * 100}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "checkpoint" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' * 9000)
    write_manifest(tmp_path / "checkpoint", {"metrics.jsonl": tmp_path / "metrics.jsonl"}, kept=True)
    return tmp_path / "checkpoint"


def test_whole_files_have_no_damage(folder: Path) -> None:
    assert damage(folder) is None
    (folder / "README.md").touch()  # a file of the user's own
    assert damage(folder) is None


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
@pytest.mark.parametrize("kind", ["truncated", "removed", "flipped", "empty"])
def test_each_damage_of_each_file_is_named(folder: Path, name: str, kind: str) -> None:
    path = folder / name
    content = bytearray(path.read_bytes())
    if kind == "removed":
        path.unlink()
    elif kind == "flipped":
        place = content.index(b"sha256") + 12 if name == MANIFEST else len(content) // 2
        content[place] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) // 2] if kind == "truncated" else b"")
    found = damage(folder)
    assert found is not None
    if name != MANIFEST:
        assert found.startswith(f"{name} ")


def test_a_name_that_leaves_the_folder_is_damage(folder: Path) -> None:
    text = (folder / MANIFEST).read_text().replace("trainer_state.json", "../metrics.jsonl")
    (folder / MANIFEST).write_text(text)
    assert damage(folder) == "../metrics.jsonl is missing"


def test_a_log_may_grow_and_nothing_else(folder: Path) -> None:
    log = folder.parent / "metrics.jsonl"
    logs = {log.name: log}
    with log.open("ab") as file:
        file.write(b'{"step": 2}\n')
    assert changed_log(folder, logs) is None
    content = log.read_bytes()
    log.write_bytes(content[:-20])
    assert changed_log(folder, logs) == ("metrics.jsonl", "was cut from 108000 to 107992 bytes")
    log.write_bytes(content.replace(b"1", b"3"))
    assert changed_log(folder, logs) == ("metrics.jsonl", "was changed")
    log.unlink()
    assert changed_log(folder, logs) == ("metrics.jsonl", "was deleted")
    (folder / MANIFEST).unlink()
    assert changed_log(folder, logs) is None


def test_checkpoints_that_are_not_kept_go_with_the_next(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", {}, seed=0)

    def save(step: int, *, kept: bool, keep: int = 0, best: int | None = None) -> list[int]:
        with run.new_checkpoint(step, kept=kept) as folder:
            (folder / "state.json").write_text("{}")
        run.prune_checkpoints(keep, best)
        return [step for step, _ in run.checkpoints()]

    assert save(3, kept=False) == [3]
    assert not is_kept(run.checkpoint_path(3))
    assert save(5, kept=True) == [5]
    assert save(7, kept=False) == [5, 7]
    assert save(10, kept=True) == [5, 10]
    assert save(15, kept=True, keep=2) == [10, 15]
    assert save(20, kept=True, keep=1, best=10) == [10, 20]
    assert save(22, kept=False, keep=1) == [20, 22]
