"""`ngrpo report`: where the page goes, what is refused, pictures, and who names the command."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.report import made_up_run

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up_run(tmp_path_factory.mktemp("runs") / "a", 800, 60).path


def test_the_page_and_its_pictures(run, folder, tmp_path):
    outcome = run("report", folder, "--png", tmp_path / "png")
    assert outcome.status == 0, outcome.err
    page = folder / "report.html"
    assert outcome.out.startswith(f"report: {page} (")
    pictures = sorted(path.name for path in (tmp_path / "png").iterdir())
    assert pictures == ["gradient.png", "group-kinds.png", "reward.png", "training-first-solved.png"]
    assert all((tmp_path / "png" / name).read_bytes().startswith(PNG) for name in pictures)
    assert run("report", folder).status == 0, "a report is replaced"


def test_what_is_refused_is_one_line(run, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report.html").write_text("mine")
    other = made_up_run(tmp_path / "b", 80, 20).path
    cases = {
        ("report", folder, other): "report.html exists and is no report of ngrpo",
        ("report", folder, "--out", tmp_path / "a.txt"): "a report's file ends in .html",
        ("report", folder, "--out", tmp_path / "no" / "a.html"): "must be a file in a folder that exists",
        ("report", tmp_path / "none"): "no such folder",
        ("report", tmp_path): "neither a run folder",
        ("report", folder, "--live", "--out", tmp_path / "a.html"): "--live serves the page and writes nothing",
    }
    for arguments, said in cases.items():
        outcome = run(*arguments)
        assert (outcome.status, len(outcome.err.splitlines())) == (2, 1), arguments
        assert said in outcome.err
    assert (tmp_path / "report.html").read_text() == "mine"
    assert run("report", folder, other, "--out", tmp_path / "two.html").status == 0


def test_open_asks_for_a_browser(run, folder, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    assert run("report", folder, "--out", tmp_path / "a.html", "--open").status == 0
    assert opened == [(tmp_path / "a.html").as_uri()]


def test_train_names_the_command(run, folder, monkeypatch):
    from ngrpo.runs.run_dir import RunDir

    monkeypatch.setattr("ngrpo.api.train", lambda *_, **__: RunDir.open(folder))
    outcome = run("train", "a.toml")
    assert outcome.out.splitlines() == [f"run folder: {folder}", f"look at it: ngrpo report {folder}"]
    assert "look at it" not in run("train", "a.toml", "--json").out
