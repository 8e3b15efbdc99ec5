from __future__ import annotations

from pathlib import Path

import pytest

import ngrpo.models.paths
from ngrpo.errors import ConfigError
from ngrpo.models.paths import resolve_model_path

SHIPPED = Path(ngrpo.models.paths.__file__).parent / "assets"


def test_a_shipped_model_is_found_beside_the_module() -> None:
    assert resolve_model_path("builtin:countdown-base") == str(SHIPPED / "countdown-base")


@pytest.mark.parametrize("file", ["config.json", "adapter_config.json"])
def test_a_folder_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / file).write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("model", "./model/", "~/model", str(tmp_path / "model")):
        assert resolve_model_path(path) == str((tmp_path / "model").resolve())


@pytest.mark.parametrize("path", ["Qwen/Qwen2.5-Math-7B", "gpt2", "a.b/c-d_e"])
def test_a_hub_id_stays_as_it_is(path: str) -> None:
    assert resolve_model_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "/no/such/folder",
        "./folder",
        "~/no such",
        "~nosuchuser/x",
        "a/b/c",
        "-x",
        " ",
        "",
        "a\0b",
        "x" * 5000,
        "x/" * 99,
    ],
)
def test_what_can_be_no_model_does_not_exist(path: str) -> None:
    with pytest.raises(ConfigError, match=r"^model path '.*' does not exist$"):
        resolve_model_path(path)


@pytest.mark.parametrize("name", ["", "nothing", "countdown", "../assets/countdown-base"])
def test_an_unknown_shipped_model_names_those_that_are(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^no model 'builtin:.*' is shipped; allowed: builtin:countdown-base$"):
        resolve_model_path(f"builtin:{name}")


def test_files_and_other_folders_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no config.json: not a model in Hugging Face format$"):
        resolve_model_path(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"is a file; a folder in Hugging Face format is needed$"):
        resolve_model_path(str(tmp_path / "config.json"))
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ConfigError, match=r"is the folder of a run; its models are in '.*/checkpoints'$"):
        resolve_model_path(str(tmp_path))
