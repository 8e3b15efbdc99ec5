"""The published numbers of the study are those that `ngrpo study --recompute` makes of the kept summaries."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PUBLISHED = Path("docs/results/countdown-a")
ALL = Path("docs/results/countdown.json")
PAGE = Path("docs/results.md")


def load(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text("utf-8"))


def test_results_are_recomputed_from_the_summaries(tmp_path: Path) -> None:
    folder = tmp_path / "countdown-a"
    shutil.copytree(PUBLISHED, folder)
    (folder / "results.json").unlink()
    command = [sys.executable, "-m", "ngrpo", "study", "configs/study/countdown.toml", "--out", folder, "--recompute"]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    assert_same(load(folder), load(PUBLISHED), "")


def test_tables_and_figures_of_the_page_are_made_of_the_summaries(tmp_path: Path) -> None:
    table = tmp_path / "countdown.json"
    page = Path(shutil.copy(PAGE, tmp_path))
    command = [sys.executable, "scripts/publish_results.py", "--out", table, "--figures", tmp_path, "--page", page]
    subprocess.run(command, check=True, capture_output=True, timeout=900)
    ours, published = (json.loads(path.read_text("utf-8")) for path in (table, ALL))
    assert_same(ours, published, "")
    assert page.read_text("utf-8") == PAGE.read_text("utf-8")
    for path in tmp_path.glob("*.svg"):
        assert Path("docs/results/figures", path.name).is_file()
        assert f"results/figures/{path.name}" in PAGE.read_text("utf-8")


def assert_same(ours: Any, published: Any, where: str) -> None:
    """Equal structures, with numbers that may differ in their last digits."""
    if isinstance(published, dict):
        assert ours.keys() == published.keys(), where
        for key, value in published.items():
            if key != "command":
                assert_same(ours[key], value, f"{where}/{key}")
    elif isinstance(published, list):
        assert len(ours) == len(published), where
        for i, (one, other) in enumerate(zip(ours, published, strict=True)):
            assert_same(one, other, f"{where}/{i}")
    elif isinstance(published, float):
        assert ours == pytest.approx(published, rel=1e-9, abs=1e-15), where
    else:
        assert ours == published, where
