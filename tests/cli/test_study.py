"""`ngrpo study`: killed twice on the way and repeated, it ends in the table of an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

CONFIG = """
[study]
name = "tiny"
seeds = 2
compare_to = "grpo"
[study.vary.grpo]
method.name = "grpo"
[study.vary.ngrpo]
method.name = "ngrpo"
[model]
path = "builtin:countdown-base"
dtype = "float32"
device = "cpu"
[task]
name = "countdown"
test_size = 8
[method]
entropy_bonus = 0.0
[sampling]
problems_per_step = 4
group_size = 4
max_prompt_tokens = 32
max_completion_tokens = 8
[optimizer]
updates_per_step = 2
[evaluation]
samples = 4
every = 3
max_completion_tokens = 8
[run]
steps = 3
save_every = 1
"""


def start(folder: Path, out: str, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ngrpo", "study", str(folder / "tiny.toml"), "--out", str(folder / out), *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def summaries(folder: Path) -> int:
    return len(list(folder.glob("summaries/*/*.json")))


def kill_after(folder: Path, out: str, count: int, sign: int) -> None:
    process = start(folder, out)
    deadline = time.monotonic() + 300
    while process.poll() is None and summaries(folder / out) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(sign)
    process.communicate(timeout=120)
    everything = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(folder / out) not in everything  # its runs have ended with it


def numbers(out: str) -> dict[str, object]:
    return {key: value for key, value in json.loads(out).items() if key != "command"}


def test_killed_twice_it_ends_in_the_same_table(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(CONFIG)
    kill_after(tmp_path, "killed", 1, signal.SIGTERM)
    assert 1 <= summaries(tmp_path / "killed") < 4
    kill_after(tmp_path, "killed", 2, signal.SIGINT)
    resumed, errors = start(tmp_path, "killed", "--json").communicate(timeout=600)
    assert resumed, errors
    whole, errors = start(tmp_path, "whole", "--json").communicate(timeout=600)
    assert whole, errors
    assert numbers(resumed) == numbers(whole)
    again, _ = start(tmp_path, "killed", "--recompute", "--json").communicate(timeout=600)
    assert json.loads(again) == json.loads(resumed)
    assert [method["seeds"] for method in json.loads(whole)["methods"]] == [[0, 1], [0, 1]]
    changed = start(tmp_path, "killed", "--set", "run.steps=4")
    assert "with other settings: choose another --out" in changed.communicate(timeout=600)[1]
    assert changed.returncode == 2
