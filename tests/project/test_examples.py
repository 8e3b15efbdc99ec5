"""The examples run as they stand, and adding one thing takes as few places as they show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = ("sampling.problems_per_step=8", "optimizer.updates_per_step=2", "run.steps=2", "model.device=cpu")


def run(name: str, *arguments: str) -> list[str]:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    out = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert out.returncode == 0, out.stderr
    return out.stdout.splitlines()


def test_a_custom_method_trains() -> None:
    lines = run("custom_method.py", *TINY)
    assert [line.partition(":")[0] for line in lines] == ["step 1", "step 2"]
    assert all(float(line.rsplit(" ", 1)[1]) > 0 for line in lines)  # the norm of the gradient


def test_a_custom_task_trains() -> None:
    lines = run("custom_task.py", *TINY, "sampling.problems_per_step=32")
    rewards = [float(line.split("reward ")[1].split(",")[0]) for line in lines]
    assert len(rewards) == 2
    assert all(0.0 < reward < 1.0 for reward in rewards)


def test_a_custom_sampler_trains_with_weights_of_its_temperature() -> None:
    lines = run("custom_sampler.py", *TINY)
    weights = [float(line.rsplit(" ", 1)[1]) for line in lines]
    assert len(weights) == 2
    assert all(0.5 < weight < 1.5 and weight != 1.0 for weight in weights)


def test_the_method_without_our_trainer() -> None:
    assert len((EXAMPLES / "minimal_loop.py").read_text().splitlines()) < 80
    rewards = [float(line.split("reward ")[1].split(",")[0]) for line in run("minimal_loop.py", "2")]
    assert len(rewards) == 2
    assert all(0.0 < reward < 0.5 for reward in rewards)


def test_an_addition_is_one_file_with_one_line_for_each_registry() -> None:
    """What an example assigns to from outside is what a change inside would add to."""
    registered = {
        name: re.findall(r'^([A-Z_]+)\["\w+"\] = ', (EXAMPLES / name).read_text(), flags=re.MULTILINE)
        for name in ("custom_method.py", "custom_task.py", "custom_sampler.py")
    }
    assert registered == {
        "custom_method.py": ["METHODS"],
        "custom_task.py": ["TASKS"],
        "custom_sampler.py": ["SAMPLERS", "TRAINING_SAMPLERS"],
    }
