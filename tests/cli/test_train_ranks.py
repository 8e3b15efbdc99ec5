"""`ngrpo train` as the processes that torchrun starts: the run of one process, and one end for all of them.

Five steps under torchrun itself: tests/engines/test_torchrun.py.
"""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from benchmarks.forked_commands import Command, CommandServer
from safetensors.torch import load_file

from ngrpo.runs.run_dir import RunDir
from tests.busy import slowdown
from tests.cli.run_commands import Commands, Ended, ended, wait_for

HOOKS = "tests.cli.run_commands:"
COUNTDOWN = """
[model]
path = "builtin:countdown-base"
device = "cpu"
[task]
name = "countdown"
train_size = 100
test_size = 8
[method]
name = "ngrpo"
[sampling]
problems_per_step = 8
group_size = 4
max_prompt_tokens = 32
max_completion_tokens = 8
[optimizer]
lr = 1e-5
updates_per_step = 2
[evaluation]
samples = 2
max_completion_tokens = 8
[run]
steps = 1
"""
SECONDS_TO_END = 20.0
"""After one rank died, on an idle machine."""


class RankCommands(Commands):
    """Runs a command as several processes, as torchrun does."""

    def start_ranks(
        self, *arguments: object, ranks: int = 2, name: str = "r", hooks: dict[int, Sequence[object]] | None = None
    ) -> list[Command]:
        """Starts the processes of a run; `hooks` are those of single ranks."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        return [
            self.start(*arguments, hook=(f"{HOOKS}as_rank", rank, ranks, port, *(hooks or {}).get(rank, ())), name=name)
            for rank in range(ranks)
        ]

    def train_ranks(self, *arguments: object, **options: Any) -> list[Ended]:
        """Runs the processes of a run to their end."""
        return [ended(command) for command in self.start_ranks(*arguments, **options)]


@pytest.fixture
def commands(command_server: CommandServer, tmp_path: Path) -> RankCommands:
    return RankCommands(command_server, tmp_path)


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def assert_same_run(one: Path, other: Path, step: int) -> None:
    """Completions, grades and advantages are equal, weights and moments to 1e-6, metrics to 1e-5 of themselves."""
    for row, theirs in zip(lines(one, "rollouts.jsonl"), lines(other, "rollouts.jsonl"), strict=True):
        assert row.pop("advantage") == pytest.approx(theirs.pop("advantage"), abs=1e-6)
        assert row == theirs
    for row, theirs in zip(lines(one, "metrics.jsonl"), lines(other, "metrics.jsonl"), strict=True):
        assert list(row) == list(theirs)
        measured = [key for key in row if not key.startswith("time/")]
        assert [row[key] for key in measured] == pytest.approx([theirs[key] for key in measured], rel=1e-5, abs=1e-6)
    files = [{str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} for folder in (one, other)]
    assert files[0] == files[1]
    tensors = [name for name in files[0] if name.startswith(f"checkpoints/step_{step:06d}") and "safetensors" in name]
    assert len(tensors) >= 2
    for name in tensors:
        ours, theirs = load_file(one / name), load_file(other / name)
        assert ours.keys() == theirs.keys()
        assert max(float((ours[key].double() - theirs[key].double()).abs().max()) for key in ours) < 1e-6, name


@pytest.mark.parametrize(
    ("ranks", "settings"),
    [
        (2, ["run.steps=2", "evaluation.every=2"]),
        (2, ["run.steps=1", "method.name=ppo", "method.reward_kl_coefficient=0.01", "method.critic_lr=1e-5"]),
        (3, ["run.steps=1", "method.name=dapo", "method.overlong_buffer_tokens=0", "sampling.old_logprobs=recompute"]),
    ],
    ids=["ngrpo", "ppo", "dapo"],
)
def test_ranks_train_as_one_process(commands: RankCommands, ranks: int, settings: list[str]) -> None:
    commands.config.write_text(COUNTDOWN)
    given = [word for setting in settings for word in ("--set", setting)]
    whole = commands.train(*given, name="one")
    assert whole.status == 0, whole.err
    divided = commands.train_ranks(*given, ranks=ranks, name="ranks")
    assert [one.status for one in divided] == [0] * ranks, divided
    assert [one.err for one in divided[1:]] == [""] * (ranks - 1)  # progress is the first rank's
    assert_same_run(commands.folder / "one", commands.folder / "ranks", int(settings[0].rpartition("=")[2]))


def test_a_killed_rank_ends_the_others_with_its_name(commands: RankCommands) -> None:
    first, second = commands.start_ranks("--set", "run.steps=500", "--set", "run.save_every=1")
    wait_for(commands.folder / "r" / "metrics.jsonl", first)
    second.kill(signal.SIGKILL)
    died, patience = time.monotonic(), SECONDS_TO_END * slowdown()
    last = ended(first)
    assert time.monotonic() - died < patience
    assert second.wait() == -signal.SIGKILL
    assert last.status == 1
    assert last.last == (
        f"ngrpo: rank 1 (process {second.pid}) ended, without which the others cannot go on; repeat the command with "
        "--resume auto"
    )
    assert "Traceback" not in last.err
    taken = lines(commands.folder / "r", "metrics.jsonl")[-1]["step"]
    steps = ("--set", f"run.steps={taken + 1}", "--set", "run.save_every=1")
    resumed = commands.train_ranks("--resume", "auto", *steps)
    assert [one.status for one in resumed] == [0, 0], resumed
    assert not list((commands.folder / "r").glob(".rollouts*"))


@pytest.mark.parametrize("ranks", [(0, 1), (1,)], ids=["all", "one"])
def test_a_signal_ends_all_ranks_with_a_checkpoint(commands: RankCommands, ranks: tuple[int, ...]) -> None:
    hooks = {rank: (f"{HOOKS}signal_in_update", int(signal.SIGTERM)) for rank in ranks}
    first, second = commands.train_ranks("--set", "run.save_every=100", hooks=hooks)
    assert (first.status, second.status) == (128 + signal.SIGTERM,) * 2
    assert first.last.startswith("ngrpo: stopped by SIGTERM after step 2; continue with: ngrpo train ")
    assert second.err == ""
    assert (commands.folder / "r" / "checkpoints" / "step_000002" / "manifest.json").exists()


def test_a_signal_while_sampling_ends_all_ranks_at_once(commands: RankCommands) -> None:
    hooks = {1: (f"{HOOKS}signal_in_sampling", int(signal.SIGINT))}
    first, second = commands.train_ranks("--set", "evaluation.every=0", hooks=hooks)
    assert (first.status, second.status) == (128 + signal.SIGINT,) * 2
    assert first.last.startswith("ngrpo: stopped by SIGINT before the end of step 1; continue with: ")
    assert second.err == ""


def test_memory_that_runs_out_in_one_rank_is_made_up_for_there(commands: RankCommands) -> None:
    update = ("ngrpo.training.update:PolicyUpdater", "_loss")
    settings = ("--set", "optimizer.lr=1e-5", "--set", "run.steps=1", "--set", "evaluation.every=0")
    whole = commands.train(*settings, name="one")
    assert whole.status == 0, whole.err
    once = commands.train_ranks(*settings, hooks={1: (f"{HOOKS}run_out_of_memory", *update, 1)})
    assert [one.status for one in once] == [0, 0], once
    assert once[1].err.startswith("ngrpo: rank 1: out of memory in an update: micro-batches of 4096 tokens")
    assert_same_run(commands.folder / "one", commands.folder / "r", 1)


def test_the_error_of_one_rank_is_one_line_of_the_first(commands: RankCommands) -> None:
    always = (f"{HOOKS}run_out_of_memory", "ngrpo.training.update:PolicyUpdater", "_loss", 1000)
    first, second = commands.train_ranks("--set", "optimizer.tokens_per_micro_batch=1", hooks={1: always})
    assert (first.status, second.status) == (1, 1)
    assert first.last.startswith("ngrpo: rank 1: out of memory in an update, with one row of ")
    assert second.err == ""


@pytest.mark.parametrize(
    ("settings", "step", "line"),
    [
        (["optimizer.lr=10"], 11, "step 11: the "),  # seen by the first rank, in the metrics
        (
            ["method.name=grpo", "method.filter=all", "method.refill=false", "sampling.max_completion_tokens=1"],
            9,
            "10 steps in a row had no group",
        ),
    ],
    ids=["metric", "groups"],
)
def test_a_tripped_wire_ends_all_ranks_after_an_evaluation(
    commands: RankCommands, settings: list[str], step: int, line: str
) -> None:
    commands.config.write_text(COUNTDOWN)
    given = [*settings, "run.steps=20", "evaluation.every=50"]
    first, second = commands.train_ranks(*[word for setting in given for word in ("--set", setting)])
    assert (first.status, second.status) == (1, 1)
    assert first.last.startswith(f"ngrpo: {line}")
    assert second.err == ""
    assert [summary.step for summary in RunDir.open(commands.folder / "r").read_summaries()] == [0, step]


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "line"),
    [
        (["--set", "model.device=cuda:1"], {}, 2, "[model] device is 'cuda:1', but torchrun started 2 processes"),
        (["--set", "sampling.sampler=vllm"], {}, 2, "[sampling] sampler 'vllm' is not divided among the processes of"),
        (["--engine", "verl"], {}, 2, "--engine verl, which starts its own processes, is not divided among processes"),
        (["--set", "run.stepz=1"], {}, 2, "unknown key 'stepz'"),
        ([], {"LOCAL_WORLD_SIZE": "1"}, 2, "torchrun started 2 processes on several machines: --engine local uses one"),
    ],
)
def test_what_ranks_cannot_do_is_refused_in_one_line(
    commands: RankCommands, arguments: list[str], environment: dict[str, str], status: int, line: str
) -> None:
    hooks = dict.fromkeys(range(2), (f"{HOOKS}set_environment", environment))
    first, second = commands.train_ranks(*arguments, hooks=hooks)
    assert (first.status, second.status) == (status, status)
    assert first.err.count("\n") == 1
    assert line in first.err
    assert second.err.count("\n") <= 1
    assert not (commands.folder / "r").exists()


@pytest.mark.parametrize("arguments", [("passk", "samples.jsonl"), ("train", "c.toml", "--dry-run")])
def test_other_commands_are_refused(run: Any, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0" if "RANK" in name else "2")
    refused = run(*arguments)
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert "is not divided among processes, and torchrun started 2: start it without" in refused.err


def test_a_folder_in_use_is_refused_by_all(commands: RankCommands) -> None:
    holder = commands.start("--set", "run.steps=500")
    wait_for(commands.folder / "r" / "metrics.jsonl", holder)
    first, second = commands.train_ranks()
    holder.kill(signal.SIGKILL)
    holder.wait()
    assert (first.status, second.status) == (1, 1)
    assert f"/r is in use by process {holder.pid} on host " in first.err
    assert (first.err.count("\n"), second.err) == (1, "")
