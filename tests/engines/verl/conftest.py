"""A run of verl by our command, the processes that it starts, and what they listen on, as Linux tells it."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ngrpo.engines.verl.verl_files import VerlFiles
from ngrpo.runs.run_dir import RunDir

CONFIG = Path(__file__).parents[3] / "configs" / "countdown" / "ngrpo.toml"
collect_ignore = ["sampler_program.py"]  # imports verl and Ray at its top; test_sampler.py runs it
HANG = 3600
"""Seconds after which a test gives up: an end to a hang and no measure of speed, which a busy machine does not keep."""
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


class Processes:
    """The processes whose environment has a text: all that a run has started, however deep and in whatever session."""

    def __init__(self, marker):
        self._marker = marker.encode()

    def pids(self):
        found = {}
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdecimal() and self._marker in (folder / "environ").read_bytes():
                    state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                    if state != "Z":
                        found[int(folder.name)] = command
            except OSError:
                continue
        return found

    def listening(self):
        """Returns the addresses and ports that are listened on, each with its command."""
        sockets = {}
        for table in ("tcp", "tcp6"):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == "0A":  # LISTEN
                    sockets[columns[9]] = _address(columns[1])
        found = {}
        for pid, command in self.pids().items():
            try:
                targets = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
            except OSError:
                continue
            for target in targets:
                inode = re.fullmatch(r"socket:\[(\d+)\]", target)
                if inode and inode[1] in sockets:
                    found[sockets[inode[1]]] = command
        return found


def _address(text):
    """Returns address and port of `0100007F:1F90`: each four bytes in the machine's order."""
    digits, port = text.split(":")
    raw = b"".join(bytes.fromhex(digits[i : i + 8])[::-1] for i in range(0, len(digits), 8))
    address = ipaddress.ip_address(raw)
    return getattr(address, "ipv4_mapped", None) or address, int(port, 16)


RECORDER = """
import os, torch
import ngrpo.adapters.verl
import transfer_queue as tq
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.workers.engine.fsdp.transformer_impl import FSDPEngine

update, step = PPOTrainer._update_actor, FSDPEngine.optimizer_step

def recorded_update(self, batch, metrics):
    if self.global_steps > 1:
        return update(self, batch, metrics)
    names = ["prompts", "responses", "response_mask", "old_log_probs", "advantages", "rm_scores"]
    data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=names)
    found = update(self, batch, metrics)
    rows = {name: [entry.clone() for entry in data[name].unbind()] for name in names}
    about = {"keys": list(map(str, batch.keys)), "loss": float(metrics["actor/loss"])}
    torch.save({**about, **rows}, os.environ["TRACE"] + ".step")
    return found

def recorded_step(self):
    if os.path.exists(os.environ["TRACE"] + ".gradient"):
        return step(self)
    grads = {name: p.grad for name, p in self.module.named_parameters() if p.grad is not None}
    full = {name: g.full_tensor() if hasattr(g, "full_tensor") else g for name, g in grads.items()}
    torch.save({name: grad.clone() for name, grad in full.items()}, os.environ["TRACE"] + ".gradient")
    return step(self)

PPOTrainer._update_actor, FSDPEngine.optimizer_step = recorded_update, recorded_step
"""
"""What the first update of a run was given, and what it made of it."""


class Run:
    """`ngrpo train --engine verl` below a folder, and the processes that it starts.

    Modules, name and text each, are loaded into every process of verl; the first traces our estimator. What the command
    prints is passed on to pytest's terminal while a test waits.
    """

    capture = None
    """pytest's capture manager."""

    def __init__(self, folder, *modules):
        self.folder, self.run_folder, self.process = folder, folder / "run", None
        self.files = VerlFiles(self.run_folder)
        self.processes = Processes(f"TRACE={self.trace}")
        self.modules = ("tracer", *(name for name, _ in modules))
        for name, text in (("tracer", TRACER), *modules):
            (folder / f"{name}.py").write_text(text, encoding="utf-8")

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
        path = os.pathsep.join(filter(None, (str(self.folder), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, "PYTHONPATH": path, "TRACE": str(self.trace), "HF_HUB_OFFLINE": "1"}
        environment["VERL_USE_EXTERNAL_MODULES"] = ",".join(self.modules)
        self.passed_on = 0
        with (self.folder / "said.txt").open("w") as said:
            self.process = subprocess.Popen(command, env=environment, cwd=self.folder, stdout=said, stderr=said)
        return self.process

    def end(self):
        """Ends the command if it still runs; all that it has started then ends too."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def wait_until(self, condition, seconds=HANG):
        """Waits for a condition, and passes on what the command prints meanwhile."""
        try:
            wait_for(lambda: self.pass_on() or condition(), seconds)
        finally:
            self.pass_on()

    def pass_on(self):
        whole, _, _ = self.said[self.passed_on :].rpartition("\n")
        if whole:
            begin = "" if self.passed_on else "\n"  # after the name of the test
            self.passed_on += len(whole) + 1
            with self.capture.global_and_fixture_disabled():
                print(begin + "\n".join(f"  [{self.folder.name}] {line}" for line in whole.splitlines()), flush=True)

    @property
    def said(self):
        return (self.folder / "said.txt").read_text(errors="replace")

    def train(self, workers, settings=()):
        """Trains to the end, looks all the while at what is listened on, and returns the run folder and the trace."""
        process = self.start(workers, settings)
        heard = {}
        try:
            self.wait_until(lambda: heard.update(self.processes.listening()) or process.poll() is not None)
        finally:
            process.kill()
        assert process.returncode == 0, self.said + self.files.log.read_text(errors="replace")[-4000:]
        assert len(heard) > 10  # so there was something to see
        assert [(str(address), port, heard[address, port]) for address, port in heard if not address.is_loopback] == []
        self.wait_until_gone()
        return RunDir.open(self.run_folder), lines(self.trace)

    def wait_until_gone(self):
        """Waits until no process is left; one that has just ended can still be listed for a moment."""
        wait_for(lambda: self.processes.pids() == {}, HANG)

    def steps(self):
        path = self.run_folder / "metrics.jsonl"
        return [line["step"] for line in lines(path)] if path.is_file() else []


def wait_for(condition, seconds):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not within {seconds} seconds"
        time.sleep(0.5)


def pytest_configure(config):
    Run.capture = config.pluginmanager.getplugin("capturemanager")


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def one_worker(tmp_path_factory):
    """Two steps of one worker, with everything that a loss can have: a reference, entropies, a temperature.

    Returns the run folder, the trace of both steps, and of the first update the rows with the loss, and the gradient.
    """
    run = Run(tmp_path_factory.mktemp("one_worker"), ("recorder", RECORDER))
    terms = ("method.kl_coefficient=0.05", "method.entropy_bonus=0.01", "sampling.temperature=0.8")
    folder, trace = run.train(1, ("optimizer.updates_per_step=1", *terms))
    return folder, trace, *(torch.load(f"{run.trace}.{what}") for what in ("step", "gradient"))


@pytest.fixture
def verl_run():
    """Makes a run below a folder, which ends with the test at the latest."""
    made = []

    def make(*arguments):
        made.append(Run(*arguments))
        return made[-1]

    yield make
    for run in made:
        run.end()
