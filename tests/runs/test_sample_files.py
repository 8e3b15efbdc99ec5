"""Which samples file a path means."""

from pathlib import Path

import pytest

from ngrpo.errors import ConfigError, DataError
from ngrpo.runs.sample_files import samples_path


def run_folder(folder: Path, *evaluations: tuple[int, str]) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for step, task in evaluations:
        inside = folder / "eval" / f"{step:06d}" / task
        inside.mkdir(parents=True)
        (inside / "samples.jsonl").touch()
        (inside / "summary.json").write_text("{}")
    return folder


def test_files_and_missing_ones_are_left_to_their_reader(tmp_path: Path) -> None:
    assert samples_path(tmp_path / "missing.csv") == tmp_path / "missing.csv"


def test_an_evaluation_folder_is_its_samples(tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").touch()
    assert samples_path(tmp_path) == tmp_path / "samples.jsonl"


def test_a_run_is_its_newest_complete_evaluation(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", (0, "math"), (50, "math"), (100, "math"))
    (run / "eval" / "000100" / "math" / "summary.json").unlink()
    assert samples_path(run) == run / "eval" / "000050" / "math" / "samples.jsonl"


def test_a_run_of_several_tasks_lists_the_newest_of_each(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", (0, "amc23"), (0, "math"), (50, "math"))
    with pytest.raises(ConfigError, match=r"several tasks: give one of \S*eval/000000/amc23, \S*eval/000050/math$"):
        samples_path(run)


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds neither samples.jsonl \(an evaluation\) nor config.json \(a run\)"):
        samples_path(tmp_path)
    with pytest.raises(DataError, match=r"the run .* has no complete evaluation"):
        samples_path(run_folder(tmp_path / "run"))
