"""verl's own entry point on a real local Ray, without a GPU: two steps of the shipped model, advantages traced."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("verl")

from ngrpo.advantages import ngrpo_advantages
from ngrpo.engines.verl.files import VerlFiles
from ngrpo.reports.run_dir import RunDir

CONFIG = Path(__file__).parents[3] / "configs" / "countdown" / "ngrpo.toml"
SMALL = (
    "run.steps=2",
    "sampling.problems_per_step=16",
    "optimizer.updates_per_step=2",
    "optimizer.lr=1e-3",
    "optimizer.schedule=constant",
    "optimizer.warmup_steps=0",
    "evaluation.every=0",
    "task.train_size=256",
)
TRACER = """
import functools, json, os
import ngrpo.adapters.verl
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY as known

def traced(function):
    @functools.wraps(function)
    def wrapper(token_level_rewards, response_mask, index=None, config=None, **more):
        advantages, returns = function(token_level_rewards, response_mask, index=index, config=config, **more)
        row = dict(rewards=token_level_rewards.sum(-1).tolist(), mask=response_mask.tolist(),
                   uids=[str(uid) for uid in index], advantages=advantages.tolist())
        with open(os.environ["TRACE"], "a") as file:
            file.write(json.dumps(row) + "\\n")
        return advantages, returns
    return wrapper

known["ngrpo"] = traced(known["ngrpo"])
"""


class Run:
    """`ngrpo train --engine verl` below a folder, and the processes that it starts."""

    def __init__(self, folder, processes):
        self.folder, self.run_folder = folder, folder / "run"
        self.files = VerlFiles(self.run_folder)
        self.processes = processes(f"TRACE={self.trace}")
        (folder / "tracer.py").write_text(TRACER, encoding="utf-8")

    @property
    def trace(self):
        return self.folder / "trace.jsonl"

    def start(self, workers, settings=(), *more):
        given = [*SMALL, "cluster.device=cpu", f"cluster.gpus_per_node={workers}", *settings]
        command = [
            sys.executable,
            "-m",
            "ngrpo",
            "train",
            str(CONFIG),
            "--engine",
            "verl",
            "--out",
            str(self.run_folder),
        ]
        command += [part for setting in given for part in ("--set", setting)] + list(more)
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "TRACE": str(self.trace), "HF_HUB_OFFLINE": "1"}
        environment["VERL_USE_EXTERNAL_MODULES"] = "tracer"
        with (self.folder / "said.txt").open("w") as said:
            return subprocess.Popen(command, env=environment, cwd=self.folder, stdout=said, stderr=said)

    @property
    def said(self):
        return (self.folder / "said.txt").read_text(errors="replace")

    def train(self, workers, settings=()):
        """Trains to the end, looks all the while at what is listened on, and returns the run folder and the trace."""
        process = self.start(workers, settings)
        heard = {}
        try:
            wait_for(lambda: heard.update(self.processes.listening()) or process.poll() is not None)
        finally:
            process.kill()
        assert process.returncode == 0, self.said + self.files.log.read_text(errors="replace")[-4000:]
        assert len(heard) > 10  # so there was something to see
        assert [(str(address), port, heard[address, port]) for address, port in heard if not address.is_loopback] == []
        assert self.processes.pids() == {}
        return RunDir.open(self.run_folder), lines(self.trace)

    def steps(self):
        path = self.run_folder / "metrics.jsonl"
        return [line["step"] for line in lines(path)] if path.is_file() else []


def wait_for(condition, seconds=280):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.5)


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def groups_of(row):
    """Rewards and advantages of each group; a row's own advantage is that of its first token."""
    groups = {}
    for uid, reward, mask, advantages in zip(row["uids"], row["rewards"], row["mask"], row["advantages"], strict=True):
        if any(mask):
            assert all(math.isclose(a, advantages[0] * m, abs_tol=1e-9) for a, m in zip(advantages, mask, strict=True))
            groups.setdefault(uid, []).append((reward, advantages[0]))
    return [tuple(map(list, zip(*members, strict=True))) for members in groups.values()]


@pytest.mark.parametrize(
    ("workers", "settings", "dropped"),
    [(1, (), "all_correct"), (2, ("method.filter=all", "sampling.group_size=4"), "all")],
    ids=["one worker", "two workers, refilled"],
)
def test_two_steps(tmp_path, processes, workers, settings, dropped):
    run, trace = Run(tmp_path, processes).train(workers, settings)
    metrics = run.read_metrics()
    assert len(trace) == len(metrics) == 2
    for row, told in zip(trace, metrics, strict=True):
        groups = groups_of(row)
        assert len(groups) == told["batch/groups"] == 16
        for rewards, advantages in groups:
            assert len(rewards) == (8 if workers == 1 else 4)
            expected = ngrpo_advantages(torch.tensor([rewards]))[0]
            torch.testing.assert_close(torch.tensor(advantages), expected, atol=1e-6, rtol=0)
            assert min(rewards) < 1
            assert dropped != "all" or max(rewards) == 1
        # The sampler and the trainer agree on every token, after the update of the weights as before.
        assert told["policy/sampler_gap_probability_max"] < 1e-4
        assert told["update/grad_norm"] > 1e-3
        assert told["update/count"] == 2
        if dropped == "all":
            assert told["batch/rounds"] > 1
            assert told["batch/sampled_groups"] > 16
            assert told["group/all_wrong"] > 0  # counted before the filter
        check_rollouts(run, told, groups)
    assert run.latest_checkpoint()[0] == 2
    assert (run.latest_checkpoint()[1] / "model.safetensors").is_file()
    assert metrics[1]["total/updates"] == 4


def check_rollouts(run, told, groups):
    """The step's rollouts are those that verl trained on, with their advantages, and those that were dropped."""
    rollouts = [line for line in run.read_rollouts() if line["step"] == told["step"]]
    assert len(rollouts) == told["batch/sampled_groups"] * len(groups[0][0])
    trained = [(line["reward"], line["advantage"]) for line in rollouts if line["advantage"] is not None]
    traced = [pair for rewards, advantages in groups for pair in zip(rewards, advantages, strict=True)]
    for ours, theirs in zip(sorted(trained), sorted(traced), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)
    assert {line["status"] for line in rollouts} <= {"correct", "wrong", "no_answer"}
    assert all(0 < line["num_tokens"] <= 16 for line in rollouts)
    assert told["reward/mean"] == pytest.approx(sum(line["reward"] for line in rollouts) / len(rollouts))


def test_a_killed_run_leaves_no_process_resumes_and_ends_with_the_error_of_a_dead_worker(tmp_path, processes):
    run = Run(tmp_path, processes)
    settings = ("run.steps=30", "run.save_every=1")
    process = run.start(1, settings)
    wait_for(lambda: run.steps() == [1] or process.poll() is not None)
    process.kill()
    wait_for(lambda: run.processes.pids() == {}, 60)
    saved = int(run.files.newest_checkpoint.read_text())

    process = run.start(1, settings, "--resume")
    wait_for(lambda: run.steps()[-1:] == [saved + 1] or process.poll() is not None)
    assert run.steps() == list(range(1, saved + 2)), run.said
    (server,) = [pid for pid, command in run.processes.pids().items() if command.startswith("ray::Server")]
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: process.poll() is not None, 60)
    assert process.returncode == 1
    assert "the Ray worker ngrpo_cpu_0 has died" in run.said.splitlines()[-1]
    wait_for(lambda: run.processes.pids() == {}, 60)
    assert {line["step"] for line in lines(run.run_folder / "rollouts.jsonl")} == set(run.steps())
