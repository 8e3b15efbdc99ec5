"""The folder of a run through verl: restartable before its first checkpoint, and never overwritten unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from ngrpo.config import load_config
from ngrpo.engines.verl.verl_files import VerlFiles
from ngrpo.engines.verl.verl_opening import open_verl_run
from ngrpo.errors import ConfigError, DataError
from ngrpo.runs.opening import OpenedRun, Resume

CONFIG = load_config(Path(__file__).parents[3] / "configs" / "countdown" / "ngrpo.toml")


def opened(
    folder: Path, resume: Resume = False, *, overwrite: bool = False, said: list[str] | None = None
) -> OpenedRun:
    say = (said if said is not None else []).append
    return open_verl_run(folder, CONFIG, say, resume=resume, overwrite=overwrite)


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    """A run that verl ended before its first step."""
    run = opened(tmp_path / "run").run
    files = VerlFiles(run.path)
    files.log.parent.mkdir(parents=True, exist_ok=True)
    files.log.write_text("Error: no GPU")
    return run.path


def with_checkpoint(folder: Path, step: int) -> None:
    newest = VerlFiles(folder).newest_checkpoint
    newest.parent.mkdir(parents=True, exist_ok=True)
    newest.write_text(str(step))


@pytest.mark.parametrize("resume", [False, True, "auto"])
def test_a_run_that_failed_before_its_first_step_starts_again(failed: Path, resume: Resume) -> None:
    again = opened(failed, resume)
    assert (again.finished, again.continued) == (False, False)
    assert sorted(path.name for path in failed.iterdir()) == ["config.json"]


def test_steps_without_a_checkpoint_are_replaced_only_when_asked(failed: Path) -> None:
    (failed / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(ConfigError, match=r"holds a run: continue it with --resume, replace it with --overwrite"):
        opened(failed)
    said: list[str] = []
    assert not opened(failed, "auto", said=said).continued
    assert said == [f"{failed} has no checkpoint yet: starting from step 1"]
    assert not (failed / "metrics.jsonl").exists()


def test_a_checkpoint_is_continued_from(failed: Path) -> None:
    with_checkpoint(failed, 50)
    (failed / "metrics.jsonl").write_text('{"step": 1}\n')
    assert opened(failed, resume=True).continued
    assert (failed / "metrics.jsonl").exists()
    with_checkpoint(failed, CONFIG.run.steps)
    assert opened(failed, "auto").finished
    assert not opened(failed, overwrite=True).continued
    with pytest.raises(ConfigError, match="choose one"):
        opened(failed, resume=True, overwrite=True)


def test_auto_begins_where_there_is_nothing(tmp_path: Path) -> None:
    assert not opened(tmp_path / "new", "auto").continued
    with pytest.raises(DataError, match="no run folder at"):
        opened(tmp_path / "missing", resume=True)
