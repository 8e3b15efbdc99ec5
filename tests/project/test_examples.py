"""The examples run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = ("sampling.problems_per_step=8", "optimizer.updates_per_step=2", "run.steps=2", "model.device=cpu")


def test_a_method_of_ones_own_trains() -> None:
    command = [sys.executable, str(EXAMPLES / "custom_method.py"), *TINY]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    out = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert out.returncode == 0, out.stderr
    lines = out.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["step 1", "step 2"]
    assert all(float(line.rsplit(" ", 1)[1]) > 0 for line in lines)  # the norm of the gradient


def test_the_method_without_our_trainer() -> None:
    assert len((EXAMPLES / "minimal_loop.py").read_text().splitlines()) < 80
    command = [sys.executable, str(EXAMPLES / "minimal_loop.py"), "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    out = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert out.returncode == 0, out.stderr
    rewards = [float(line.split("reward ")[1].split(",")[0]) for line in out.stdout.splitlines()]
    assert len(rewards) == 2
    assert all(0.0 < reward < 0.5 for reward in rewards)
