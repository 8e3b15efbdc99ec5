"""A hub model is pinned: the commit that a run has loaded is in its config.json, and is loaded again later."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ngrpo.models.paths import resolve_model_path
from tests.cli.run_commands import CONFIG

FIRST, SECOND = "1" * 40, "2" * 40
TRAIN = ["train", "c.toml", "--set", "model.path=us/tiny", "--set", "model.lora.rank=2", "--set", "run.journal=false"]


def publish(cache: Path, commit: str) -> None:
    """Makes a commit the newest of us/tiny in a cache of the hub."""
    model = cache / "models--us--tiny"
    shutil.copytree(resolve_model_path("builtin:countdown-base"), model / "snapshots" / commit)
    (model / "refs").mkdir(exist_ok=True)
    (model / "refs" / "main").write_text(commit)


def test_the_commit_that_was_loaded_is_loaded_again(tmp_path: Path) -> None:
    publish(tmp_path / "hub", FIRST)
    rows = [{"question": f"2 7 9 {n + 1} = {n}", "answer": str(n)} for n in range(12)]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "c.toml").write_text(CONFIG.replace("every = 2", "every = 0"))
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def train(*arguments: str) -> str:
        command = [sys.executable, "-m", "ngrpo", *TRAIN, "--out", "r", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return str(json.loads((tmp_path / "r" / "config.json").read_text())["config"]["model"]["revision"])

    assert train("--set", "run.steps=1") == FIRST
    publish(tmp_path / "hub", SECOND)
    (tmp_path / "hub" / "models--us--tiny" / "snapshots" / SECOND / "config.json").write_text("{}")  # would not load
    assert train("--set", "run.steps=2", "--resume") == FIRST
