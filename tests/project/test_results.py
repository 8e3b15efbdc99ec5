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
    ours, published = load(folder), load(PUBLISHED)
    for part in ("methods", "differences"):
        for row, wanted in zip(ours[part], published[part], strict=True):
            assert row.keys() == wanted.keys()
            for key, value in wanted.items():
                exact = not isinstance(value, float)
                assert row[key] == (value if exact or value is None else pytest.approx(value, rel=1e-9, abs=1e-15)), key


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
        cells = [NAMES[row["a"]], str(row["seeds"]), difference, f"{row['holm_p']:.3f}", better, worse]
        assert f"| {' | '.join(cells)} |" in page
