"""`ngrpo train` under signals, faults and damage, as real processes: one line, the documented status, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks.forked_commands import CommandServer
from benchmarks.kill_resume import contents, measure

from tests.cli.run_commands import Commands, wait_for

HOOKS = "tests.cli.run_commands:"


@pytest.fixture
def commands(command_server: CommandServer, tmp_path: Path) -> Commands:
    return Commands(command_server, tmp_path)


@pytest.fixture(scope="session")
def whole(command_server: CommandServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run of 4 steps."""
    commands = Commands(command_server, tmp_path_factory.mktemp("whole"))
    done = commands.train()
    assert done.status == 0, done.err
    return commands.folder / "r"


@pytest.fixture
def copied(commands: Commands, whole: Path) -> Commands:
    """Commands whose run folder is a copy of the undisturbed run, with its data."""
    shutil.copytree(whole, commands.folder / "r")
    commands.problems = whole.parent / "problems.jsonl"
    shutil.copy(whole.parent / "config.toml", commands.config)
    return commands


def without_last_checkpoint(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints" / "step_000004")


def assert_finishes_as(commands: Commands, whole: Path, *arguments: object) -> str:
    done = commands.train("--resume", "auto", *arguments)
    assert done.status == 0, done.err
    assert same(commands.folder / "r", whole)
    return done.err


def same(folder: Path, whole: Path) -> bool:
    return contents(folder) == contents(whole)


# One writer, and what a folder may hold.


def test_a_second_process_is_refused_and_names_the_first(commands: Commands) -> None:
    first = commands.start("--set", "run.steps=500")
    wait_for(commands.folder / "r" / "metrics.jsonl", first)
    for arguments in ((), ("--resume",), ("--resume", "auto"), ("--overwrite",)):
        second = commands.train(*arguments)
        assert (second.status, second.err.count("\n")) == (1, 1)
        assert f"/r is in use by process {first.pid} on host " in second.err
    first.kill(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    third = commands.train("--resume", "auto", "--set", "run.steps=1", "--set", "run.save_every=0")
    assert third.status == 0, third.err  # death frees the lock


def test_a_run_is_never_overwritten_without_being_asked(copied: Commands) -> None:
    before = contents(copied.folder / "r")
    refused = copied.train()
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert "holds a run: continue it with --resume, replace it with --overwrite, or choose another --out" in refused.err
    both = copied.train("--resume", "--overwrite")
    assert (both.status, both.err.count("\n")) == (2, 1)
    assert contents(copied.folder / "r") == before
    replaced = copied.train("--overwrite", "--set", "run.steps=1")
    assert replaced.status == 0, replaced.err
    assert len((copied.folder / "r" / "metrics.jsonl").read_text().splitlines()) == 1


# Ten states of a folder.


def _missing(folder: Path) -> None:
    shutil.rmtree(folder)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _config_only(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != "config.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _before_the_first_checkpoint(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints")
    lines = (folder / "metrics.jsonl").read_bytes()
    (folder / "metrics.jsonl").write_bytes(lines[: len(lines) // 3])


def _killed_while_saving(folder: Path) -> None:
    step = folder / "checkpoints" / "step_000004"
    step.rename(step.with_name(".step_000004.partial"))


def _newest_damaged(folder: Path) -> None:
    path = folder / "checkpoints" / "step_000004" / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def _stale_lock(folder: Path) -> None:
    without_last_checkpoint(folder)
    (folder / ".lock").write_text('{"host": "elsewhere", "pid": 1}')


def _no_last_evaluation(folder: Path) -> None:
    shutil.rmtree(folder / "eval" / "000004")


def _torn_lines(folder: Path) -> None:
    without_last_checkpoint(folder)
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        with (folder / name).open("ab") as file:
            file.write(b'{"step": 5, "rew')


def _finished(folder: Path) -> None:
    (folder / ".rollouts.journal").write_text('{"round": "step 4"}\n')


STATES = (
    _missing, _empty, _config_only, _before_the_first_checkpoint, _killed_while_saving, _newest_damaged, _stale_lock,
    _no_last_evaluation, _torn_lines, _finished,
)  # fmt: skip


def test_resume_auto_ends_in_the_same_run_from_ten_states(copied: Commands, whole: Path) -> None:
    for make in STATES:  # in a row: each begins with what the last one left
        make(copied.folder / "r")
        done = copied.train("--resume", "auto")
        assert done.status == 0, (make.__name__, done.err)
        assert same(copied.folder / "r", whole), make.__name__


# Signals.


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGUSR1, 128 + signal.SIGUSR1), (signal.SIGINT, 130)],
)
def test_a_signal_ends_after_the_running_update_with_a_checkpoint(
    copied: Commands, whole: Path, number: signal.Signals, status: int
) -> None:
    stopped = copied.train("--overwrite", hook=(HOOKS + "signal_in_update", int(number)))
    assert stopped.status == status
    run = copied.folder / "r"
    assert stopped.last == (
        f"ngrpo: stopped by {number.name} after step 2; continue with: "
        f"ngrpo train {run}/config.json --out {run} --resume"
    )
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step_000002"]
    assert_finishes_as(copied, whole)


def test_a_signal_while_nothing_must_be_finished_ends_at_once(copied: Commands, whole: Path) -> None:
    hook = ("benchmarks.kill_resume:send_in", "sampling", 6, 0.0, int(signal.SIGTERM))
    stopped = copied.train("--overwrite", "--set", "evaluation.every=0", hook=hook)
    assert (stopped.status, "stopped by SIGTERM after step 1; continue with" in stopped.last) == (143, True)
    assert [path.name for path in (copied.folder / "r" / "checkpoints").iterdir()] == ["step_000001"]
    journal = (copied.folder / "r" / ".rollouts.journal").read_text().splitlines()
    assert json.loads(journal[0]) == {"round": "step 2"}
    assert len(journal) > 1
    done = copied.train("--resume", "auto")
    assert done.status == 0, done.err
    final = "checkpoints/step_000004/model.safetensors"
    assert (copied.folder / "r" / final).read_bytes() == (whole / final).read_bytes()
    assert [p.name for p in sorted((copied.folder / "r" / "checkpoints").iterdir())] == ["step_000002", "step_000004"]


def test_a_second_ctrl_c_stops_at_once(commands: Commands) -> None:
    done = commands.train("--set", "evaluation.every=0", hook=(HOOKS + "interrupt_twice",))
    assert (done.status, done.last) == (130, "ngrpo: interrupted")
    assert "ngrpo: ending after this update; Ctrl-C again stops at once\n" in done.err
    assert not (commands.folder / "r" / "metrics.jsonl").exists()


# The journal of a step's completions.


def test_a_run_without_the_journal_is_the_same(copied: Commands, whole: Path) -> None:
    done = copied.train("--overwrite", "--set", "run.journal=false")
    assert done.status == 0, done.err
    assert same(copied.folder / "r", whole)


# Damage.


@pytest.mark.parametrize("name", ["model.safetensors", "trainer_state.json", "manifest.json"])
def test_a_damaged_newest_checkpoint_is_passed_over(copied: Commands, whole: Path, name: str) -> None:
    path = copied.folder / "r" / "checkpoints" / "step_000004" / name
    if name == "model.safetensors":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    err = assert_finishes_as(copied, whole)
    fault = {"model.safetensors": "has changed", "manifest.json": "is missing or damaged"}.get(name, "is missing")
    assert f"damaged: checkpoint step_000004 ({name} {fault}); continuing from step_000002\n" in err
    assert (copied.folder / "r" / "checkpoints" / "damaged_step_000004").is_dir()


def test_without_a_sound_checkpoint_nothing_is_started(copied: Commands) -> None:
    for path in (copied.folder / "r" / "checkpoints").glob("*/model.safetensors"):
        path.unlink()
    done = copied.train("--resume", "auto")
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "has no sound checkpoint: checkpoint step_000004 (model.safetensors is missing); checkpoint" in done.err


def _delete(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


def _edit(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"step", b"stop", 1))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("metrics.jsonl", _delete, "was deleted since checkpoint step_000002: restore it, or start over with"),
        ("rollouts.jsonl", _cut, "to 300 bytes since checkpoint step_000002: restore it, continue without with --set "),
        ("metrics.jsonl", _edit, "was changed since checkpoint"),
    ],
)
def test_a_log_that_was_deleted_or_cut_is_noticed(
    copied: Commands, name: str, change: Callable[[Path], None], said: str
) -> None:
    without_last_checkpoint(copied.folder / "r")
    change(copied.folder / "r" / name)
    done = copied.train("--resume")
    assert (done.status, said in done.last) == (1, True), done.err
    if name == "rollouts.jsonl":
        assert copied.train("--resume", "--set", "run.keep_rollouts=false").status == 0


def test_other_training_problems_are_noticed(copied: Commands) -> None:
    without_last_checkpoint(copied.folder / "r")
    lines = copied.problems.read_text().splitlines(keepends=True)
    copied.problems = copied.folder / "problems.jsonl"
    for changed in (lines[::-1], [*lines[:-1], lines[-1].replace("2 7", "2 8")]):
        copied.problems.write_text("".join(changed))
        spec = f"task.name=file:{copied.problems}"
        record = copied.folder / "r" / "config.json"
        record.write_text(record.read_text().replace(_task_name(record), f"file:{copied.problems}"))
        done = copied.train("--resume", "--set", spec)
        assert (done.status, done.err.count("\n")) == (2, 1)
        assert "--resume: the training problems of task 'file:" in done.err
        assert "have changed since the run was started: restore them, or choose another --out" in done.err


def _task_name(record: Path) -> str:
    return str(json.loads(record.read_text())["config"]["task"]["name"])


def test_settings_that_alter_no_result_may_change_and_are_named(copied: Commands, whole: Path) -> None:
    without_last_checkpoint(copied.folder / "r")
    free = ("evaluation.every=4", "run.save_minutes=1", "sampling.max_sequences=4")
    err = assert_finishes_as(copied, whole, *(part for setting in free for part in ("--set", setting)))
    assert "changed settings: [evaluation] every 2 -> 4; [run] save_minutes 10.0 -> 1.0\n" in err
    refused = copied.train("--resume", "--set", "optimizer.lr=1e-4", "--set", "run.steps=9")
    assert (refused.status, refused.err.count("\n")) == (2, 1)


# Faults.


@pytest.mark.parametrize(
    ("owner", "name", "said"),
    [
        (
            "ngrpo.training.update:PolicyUpdater",
            "_loss",
            "in an update: micro-batches of 4096 tokens in place of 8192",
        ),
        ("ngrpo.sampling.transformers_sampler:TransformersSampler", "_sample", "2 completions at a time in place of 4"),
    ],
)
def test_out_of_memory_halves_and_continues(commands: Commands, owner: str, name: str, said: str) -> None:
    small = ("--set", "evaluation.every=0", "--set", "run.steps=2")
    done = commands.train(*small, hook=(HOOKS + "run_out_of_memory", owner, name, 1))
    assert done.status == 0, done.err
    assert done.err.count("out of memory") == 1
    assert said in done.err
    setting = "optimizer.tokens_per_micro_batch=4096" if name == "_loss" else "sampling.max_sequences=2"
    assert commands.train(*small, "--set", setting, name="smaller").status == 0
    assert same(commands.folder / "r", commands.folder / "smaller")


def test_memory_that_is_never_enough_is_one_line(commands: Commands) -> None:
    hook = (HOOKS + "run_out_of_memory", "ngrpo.training.update:PolicyUpdater", "_loss", 10**6)
    done = commands.train("--set", "evaluation.every=0", hook=hook)
    assert done.status == 1
    assert "Traceback" not in done.err
    assert done.last.startswith("ngrpo: out of memory in an update, with one row of ")


def test_a_file_size_limit_leaves_the_last_checkpoint_whole(copied: Commands, whole: Path) -> None:
    without_last_checkpoint(copied.folder / "r")
    done = copied.train("--resume", hook=(HOOKS + "limit_file_size", 1_500_000))  # less than the moments
    assert (done.status, "Traceback" in done.err) == (1, False)
    assert done.last.startswith("ngrpo: file size limit exceeded")
    assert "checkpoint step_000002 is whole; once there is space, continue with: ngrpo train " in done.last
    assert_finishes_as(copied, whole)


MOUNTED = """
mount -t tmpfs -o size=6m none {folder} && cd {folder}
{python} -m ngrpo train {config} --out full/r; echo status $?
rm -rf full/r/checkpoints/.*partial; mount -o remount,ro {folder}
{python} -m ngrpo train {config} --out full/other; echo status $?
{python} -m ngrpo train {config} --out full/r --resume auto; echo status $?
"""


def test_a_full_disk_and_a_read_only_one_are_one_line(commands: Commands) -> None:
    folder = commands.folder / "disk"
    folder.mkdir()
    script = MOUNTED.format(folder=folder, python=sys.executable, config=commands.config)
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if "status" not in done.stdout:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()[-100:]}")
    assert done.stdout.split() == ["status", "1", "status", "2", "status", "2"], done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("ngrpo: ")]
    assert lines[0].startswith("ngrpo: disk full")
    assert lines[1].startswith("ngrpo: cannot make the folder full/other: Read-only file system")
    assert lines[2].startswith("ngrpo: cannot make the folder full/r: Read-only file system")


def test_weights_that_are_not_finite_are_not_saved(copied: Commands, whole: Path) -> None:
    without_last_checkpoint(copied.folder / "r")
    done = copied.train("--resume", hook=(HOOKS + "break_weights", 4))
    assert done.status == 1
    assert "has NaN or infinite values (weights): not saved" in done.last
    assert [path.name for path in (copied.folder / "r" / "checkpoints").iterdir()] == ["step_000002"]
    assert_finishes_as(copied, whole)


# Kills; benchmarks/kill_resume.py makes 100 of them.


def test_ten_kills_change_no_byte(command_server: CommandServer) -> None:
    cases = measure(10, seed=int.from_bytes(os.urandom(4)), names=("NGRPO", "LoRA (GRPO)"), server=command_server)
    summary = [(case.name, dict(case.kills), case.finished, case.equal) for case in cases]
    assert sum(case.kills.total() for case in cases) == 10, summary
    assert all(case.equal == case.finished for case in cases), summary
