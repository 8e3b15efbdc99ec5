"""`ngrpo eval --resume`: killed at random points, the files of an undisturbed run; another evaluation is refused."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ngrpo.evaluation.journal import journal_path
from ngrpo.folder_lock import locked_folder
from ngrpo.models.paths import resolve_model_path
from ngrpo.runs.run_dir import RunDir
from tests.cli.conftest import Outcome

Run = Callable[..., Outcome]

MODEL = ("eval", "builtin:countdown-base", "--task", "countdown", "--set", "model.device=cpu")
SIZE = ("--problems", 96, "--samples", 16, "--max-completion-tokens", 12, "--set", "sampling.max_sequences=32")
SHORT = ("--problems", 4, "--samples", 4, "--max-completion-tokens", 8)


def _start(out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ngrpo", *map(str, (*MODEL, *SIZE, "--out", out, "--resume", "--json"))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _kill_when_written(out: Path, wanted: int) -> None:
    """Kills an evaluation once its journal has so many bytes, or has ended before."""
    process, journal = _start(out), journal_path(out / "samples.jsonl")
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if journal.exists() and journal.stat().st_size >= wanted:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    process.wait(timeout=60)


def test_killed_at_five_random_points_and_resumed_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert _start(whole).wait(timeout=300) == 0
    expected = (whole / "samples.jsonl").read_bytes()
    rng = random.Random()
    points = sorted(rng.uniform(0.0, 0.8) * len(expected) for _ in range(5))
    for point in points:
        _kill_when_written(killed, int(point))
    assert not (killed / "samples.jsonl").exists(), points
    assert _start(killed).wait(timeout=300) == 0
    assert (killed / "samples.jsonl").read_bytes() == expected, points
    assert (killed / "summary.json").read_bytes() == (whole / "summary.json").read_bytes()
    assert sorted(path.name for path in killed.iterdir()) == sorted(path.name for path in whole.iterdir())


def test_a_finished_evaluation_resumes_to_itself(run: Run, tmp_path: Path) -> None:
    first = run(*MODEL, *SHORT, "--out", tmp_path / "e", "--json")
    before = {path.name: path.read_bytes() for path in (tmp_path / "e").iterdir()}
    again = run(*MODEL, *SHORT, "--out", tmp_path / "e", "--json", "--resume")
    assert (again.status, json.loads(again.out)) == (0, json.loads(first.out))
    assert {path.name: path.read_bytes() for path in (tmp_path / "e").iterdir()} == before
    assert run(*MODEL, *SHORT, "--out", tmp_path / "e").err.startswith(f"ngrpo: {tmp_path}/e already holds samples")


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        (("--temperature", 1.0), "settings.decoding.temperature = 0.6, now it is 1.0"),
        (("--samples", 8), "settings.samples = 4, now it is 8"),
        (("--seed", 5), "settings.seed = 0, now it is 5"),
        (("--set", "task.numbers=3"), "problems_digest"),
        (("--set", "task.prompt={question} !"), "task_settings.prompt"),
        (("--set", "sampling.max_sequences=7"), "sampler.max_sequences = 512, now it is 7"),
        (("--set", "model.dtype=bfloat16"), 'sampler.dtype = "auto", now it is "bfloat16"'),
    ],
)
def test_another_setting_refuses_to_mix(run: Run, tmp_path: Path, changed: tuple[object, ...], key: str) -> None:
    run(*MODEL, *SHORT, "--out", tmp_path / "e", "--json")
    (tmp_path / "e" / "samples.jsonl").rename(journal_path(tmp_path / "e" / "samples.jsonl"))
    arguments = list(SHORT)
    if changed[0] in arguments:
        arguments[arguments.index(changed[0]) + 1] = changed[1]
        changed = ()
    outcome = run(*MODEL, *arguments, *changed, "--out", tmp_path / "e", "--resume")
    assert outcome.status == 2
    assert key in outcome.err
    assert "samples of two evaluations must not be mixed; choose another --out" in outcome.err
    assert outcome.err.count("\n") == 1


def test_another_model_under_the_same_path_refuses_to_mix(run: Run, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(resolve_model_path("builtin:countdown-base"), model)
    arguments = ("eval", model, *MODEL[2:], *SHORT, "--out", tmp_path / "e")
    run(*arguments)
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (model / "model.safetensors").write_bytes(weights)
    outcome = run(*arguments, "--resume")
    assert outcome.status == 2
    assert "was begun with model_digest" in outcome.err


def test_an_unfinished_evaluation_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    run(*MODEL, *SHORT, "--out", tmp_path / "e")
    journal = journal_path(tmp_path / "e" / "samples.jsonl")
    (tmp_path / "e" / "samples.jsonl").rename(journal)
    before = journal.read_bytes()
    outcome = run(*MODEL, *SHORT, "--out", tmp_path / "e")
    assert (outcome.status, journal.read_bytes()) == (2, before)
    assert outcome.err == (
        f"ngrpo: {tmp_path}/e holds an unfinished evaluation: continue with --resume, or choose another --out\n"
    )


def test_samples_without_a_record_are_not_mixed_with(run: Run, tmp_path: Path) -> None:
    run(*MODEL, *SHORT, "--out", tmp_path / "e")
    (tmp_path / "e" / "evaluation.json").unlink()
    outcome = run(*MODEL, *SHORT, "--out", tmp_path / "e", "--resume")
    assert (outcome.status, outcome.err) == (
        1,
        f"ngrpo: {tmp_path}/e/evaluation.json cannot be read: it is not the record of an evaluation\n",
    )


def test_the_protocol_of_the_paper_is_a_preset(run: Run, tmp_path: Path) -> None:
    small = ("--problems", 1, "--samples", 4, "--max-completion-tokens", 8)
    outcome = run(*MODEL, "--protocol", "paper", *small, "--out", tmp_path / "e", "--json")
    settings = json.loads(outcome.out)["settings"]
    assert (settings["samples"], settings["decoding"]["temperature"], settings["decoding"]["top_p"]) == (4, 0.6, 0.95)
    assert (
        run(*MODEL, "--protocol", "mine").err
        == "ngrpo: Invalid value for '--protocol': 'mine' is not one of 'paper' (see --help)\n"
    )


def test_a_second_evaluation_of_a_folder_is_refused(run: Run, tmp_path: Path) -> None:
    with locked_folder(tmp_path / "e"):
        outcome = run(*MODEL, *SHORT, "--out", tmp_path / "e")
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert f"/e is in use by process {os.getpid()} on host " in outcome.err
    assert run(*MODEL, *SHORT, "--out", tmp_path / "e").status == 0


def test_a_damaged_newest_checkpoint_is_not_evaluated(run: Run, tmp_path: Path) -> None:
    folder = RunDir.create(tmp_path / "r", {"task": {"name": "countdown"}}, seed=0)
    for step in (1, 2):
        with folder.new_checkpoint(step) as checkpoint:
            shutil.copytree(resolve_model_path("builtin:countdown-base"), checkpoint, dirs_exist_ok=True)
    (folder.checkpoint_path(2) / "model.safetensors").write_bytes(b"")
    small = ("--set", "task.test_size=4", "--samples", 2, "--max-completion-tokens", 4, "--set", "model.device=cpu")
    outcome = run("eval", tmp_path / "r", *small, "--out", tmp_path / "e", "--json")
    assert outcome.status == 0, outcome.err
    assert "ngrpo: damaged: checkpoint step_000002 (model.safetensors has 0 bytes in place of " in outcome.err
    assert json.loads((tmp_path / "e" / "evaluation.json").read_text())["model"].endswith("step_000001")
