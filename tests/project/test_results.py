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
NAMES = {"grpo": "GRPO", "ngrpo": "NGRPO", "ppo": "PPO", "psr_nsr": "PSR-NSR", "dapo": "DAPO"}


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


def test_the_page_has_these_numbers() -> None:
    page, published = PAGE.read_text("utf-8"), load(PUBLISHED)
    for row in published["methods"]:
        low, high = (f"{100 * end:.1f}" for end in row["auc_ci95"])
        shares = (f"{100 * row['pass_at_k'][k]:.1f}" for k in ("1", "8", "64"))
        cells = [NAMES[row["method"]], str(len(row["seeds"])), *shares, f"{100 * row['auc']:.1f} [{low}, {high}]"]
        assert f"| {' | '.join(cells)} | {row['rollouts']:,.0f} |" in page
    for row in published["differences"]:
        low, high = (f"{100 * end:+.2f}" for end in row["ci95"])
        better, worse = (", ".join(map(str, row[key])) or "none" for key in ("beats_at_k", "loses_at_k"))
        difference = f"{100 * row['auc_difference']:+.2f} [{low}, {high}]"
        p = f"{row['holm_p']:.3f}" if row["holm_p"] >= 0.001 else "< 0.001"
        cells = [NAMES[row["a"]], str(row["seeds"]), difference, p, better, worse]
        assert f"| {' | '.join(cells)} |" in page
