"""README's first program and the commands of AGENTS.md run as they are written, with smaller steps."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import TINY

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
COMMANDS = re.findall(r"`(ngrpo (?:train|compare|eval) [^`]+)`", (ROOT / "AGENTS.md").read_text(encoding="utf-8"))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    return tmp_path


def test_the_commands_for_agents(checkout: Path) -> None:
    assert [command.split()[1] for command in COMMANDS] == ["train", "train", "train", "compare", "eval"]
    for command in COMMANDS:
        smaller = [str(part) for part in TINY] if " train " in command else []
        arguments = [sys.executable, "-m", *command.split(), *smaller]
        done = subprocess.run(arguments, cwd=checkout, capture_output=True, text=True, check=False, env=ENVIRONMENT)
        assert done.returncode == 0, (command, done.stderr)
    assert len((checkout / "runs/a/metrics.jsonl").read_text().splitlines()) == 3


def test_the_first_program(checkout: Path) -> None:
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert block is not None
    small = ", ".join(map(repr, TINY[1::2]))
    large = '"run.steps=20", "evaluation.problems=128", "evaluation.samples=16"'
    code = block[1].replace(large, f'{small}, "run.steps=1"')
    assert code != block[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["ngrpo", "grpo"]
    assert lines[2].startswith("{1: ")
    assert lines[3].startswith("Difference(")
