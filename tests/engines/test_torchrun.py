"""`torchrun -m ngrpo train` itself: five steps of Countdown equal to one process; one rank killed; a signal.

The processes without torchrun are tested in tests/cli/test_train_ranks.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.busy import slowdown
from tests.cli.test_train_ranks import COUNTDOWN, assert_same_run

pytestmark = pytest.mark.skipif(
    find_spec("trl") is None, reason="10 to 20 s each: in the environment of the engine tests only"
)
ROOT = Path(__file__).parents[2]
SECONDS_TO_END = 20.0


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "countdown.toml"
    path.write_text(COUNTDOWN.replace("steps = 1", "steps = 5"))
    return path


def start(config: Path, out: str, *arguments: str, ranks: int) -> subprocess.Popen[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    command = [sys.executable, *launcher, "-m", "ngrpo", "train", str(config), "--out", out, *arguments]
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    return subprocess.Popen(command, cwd=config.parent, env=environment, stderr=subprocess.PIPE, text=True)


def processes_of(out: Path) -> dict[int, str]:
    """Returns the ranks of a run that are alive: process -> its environment's RANK."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            environment = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        rank = next((value for value in environment if value.startswith("RANK=")), None)
        if rank and str(out) in arguments and "ngrpo" in arguments:
            found[int(entry.name)] = rank.removeprefix("RANK=")
    return found


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120.0 * slowdown()
    while process.poll() is None and not (path.exists() and path.stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_five_steps_are_those_of_one_process(config: Path) -> None:
    for out, ranks in (("one", 1), ("two", 2)):
        process = start(config, out, ranks=ranks)
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert_same_run(config.parent / "one", config.parent / "two", 5)


def test_a_killed_rank_ends_the_command_with_its_name_and_leaves_no_process(config: Path) -> None:
    out = config.parent / "run"
    process = start(config, str(out), "--set", "run.steps=500", "--set", "run.save_every=1", ranks=2)
    wait_for(out / "metrics.jsonl", process)
    [victim] = [pid for pid, rank in processes_of(out).items() if rank == "1"]
    os.kill(victim, signal.SIGKILL)
    _, err = process.communicate(timeout=SECONDS_TO_END * slowdown())
    assert process.returncode == 1
    assert f"ngrpo: rank 1 (process {victim}) ended, without which the others cannot go on" in err
    assert "Signal 9 (SIGKILL)" in err  # torchrun's own report
    assert processes_of(out) == {}


def test_a_signal_to_torchrun_saves_and_ends(config: Path) -> None:
    out = config.parent / "run"
    process = start(config, str(out), "--set", "run.steps=500", ranks=2)
    wait_for(out / "metrics.jsonl", process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=SECONDS_TO_END * slowdown())
    assert "ngrpo: stopped by SIGTERM after step " in err
    assert list((out / "checkpoints").glob("step_*/manifest.json"))
    assert processes_of(out) == {}
