"""Runs of the shipped model as processes, and what a test does to them before they begin."""

from __future__ import annotations

import itertools
import json
import resource
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.forked_commands import Command, CommandServer

CONFIG = """
[model]
path = "builtin:countdown-base"
device = "cpu"
[task]
name = "file:problems.jsonl"
prompt = "{question} :"
grader = "exact"
[method]
filter = "none"
[sampling]
problems_per_step = 6
group_size = 2
max_sequences = 4
max_prompt_tokens = 32
max_completion_tokens = 6
[optimizer]
lr = 1e-3
updates_per_step = 2
[evaluation]
problems = 2
samples = 2
max_completion_tokens = 6
every = 2
[run]
steps = 4
save_every = 2
"""


class Ended(NamedTuple):
    """How a process ended."""

    status: int
    err: str

    @property
    def last(self) -> str:
        """The last line of standard error."""
        return self.err.strip().splitlines()[-1]


class Commands:
    """Runs commands in a folder with a config and problems of its own."""

    def __init__(self, server: CommandServer, folder: Path) -> None:
        self._server, self.folder, self._numbers = server, folder, itertools.count()
        rows = [{"question": f"2 7 9 {n + 1} = {n}", "answer": str(n)} for n in range(12)]
        self.problems = folder / "problems.jsonl"
        self.problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.config = folder / "config.toml"
        self.config.write_text(CONFIG.replace("problems.jsonl", str(self.problems)))

    def start(self, *arguments: object, hook: Sequence[object] = (), name: str = "r") -> Command:
        """Starts `ngrpo train` in a run folder."""
        given = ["train", self.config, "--out", self.folder / name, *arguments]
        number = next(self._numbers)
        return self._server.start(
            given, out=self.folder / f"{number}.out", err=self.folder / f"{number}.err", hook=hook
        )

    def train(self, *arguments: object, hook: Sequence[object] = (), name: str = "r") -> Ended:
        """Runs `ngrpo train` in a run folder to its end."""
        return ended(self.start(*arguments, hook=hook, name=name))


def ended(command: Command) -> Ended:
    """Waits for a process."""
    status = command.wait()
    return Ended(status, command.err.read_text())


def wait_for(path: Path, command: Command, seconds: float = 60.0) -> None:
    """Waits until a file is there and not empty, or the process has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and command.poll() is None and not (path.exists() and path.stat().st_size):
        time.sleep(0.005)


def limit_file_size(size: int) -> None:
    """No file of this process may be larger."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def run_out_of_memory(owner: str, name: str, times: int) -> None:
    """Makes the first calls of a function fail as an allocator does."""
    import importlib

    module, _, kind = owner.partition(":")
    target: Any = getattr(importlib.import_module(module), kind)
    function, left = getattr(target, name), [times]

    def call(*arguments: Any, **options: Any) -> Any:
        if left[0] > 0:
            left[0] -= 1
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")
        return function(*arguments, **options)

    setattr(target, name, call)


def run_out_of_memory_in_adamw(call: int) -> None:
    """Makes AdamW's own step fail as an allocator does, at its so many-th call."""
    import torch

    step, calls = torch.optim.AdamW.step, [0]

    def failing(self: torch.optim.AdamW, *arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")
        return step(self, *arguments)

    torch.optim.AdamW.step = failing  # type: ignore[method-assign]


def interrupt_twice() -> None:
    """Sends Ctrl-C in the first update, and again a while later; the update itself would take minutes."""
    import os

    from ngrpo.training.optimizer import Updater

    def slow(_self: Updater) -> float:
        for pause in (0.1, 300.0):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(pause)
        return 0.0

    Updater.take_step = slow  # type: ignore[method-assign]


def as_rank(rank: int, ranks: int, port: int, *hook: Any) -> None:
    """Makes this process one of those that torchrun starts; then does what a further hook asks for."""
    import importlib
    import os

    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in places.items()} | {"MASTER_ADDR": "127.0.0.1"})
    if hook:
        module, _, function = hook[0].partition(":")
        getattr(importlib.import_module(module), function)(*hook[1:])


def set_environment(values: dict[str, str]) -> None:
    """Sets environment variables."""
    import os

    os.environ.update(values)


def signal_in_sampling(number: int) -> None:
    """Sends a signal to this process when it samples its first block."""
    import os

    from ngrpo.sampling.transformers_sampler import TransformersSampler

    def slow(*_: Any) -> Any:
        os.kill(os.getpid(), signal.Signals(number))
        time.sleep(300.0)

    TransformersSampler._sample = slow  # type: ignore[method-assign]


def signal_in_update(number: int) -> None:
    """Sends a signal to this process in the second step's first update."""
    import os

    from ngrpo.training.optimizer import Updater

    take_step, calls = Updater.take_step, [0]

    def sending(self: Updater) -> float:
        calls[0] += 1
        if calls[0] == 3:
            os.kill(os.getpid(), signal.Signals(number))
        return take_step(self)

    Updater.take_step = sending  # type: ignore[method-assign]


def break_weights(step: int) -> None:
    """Makes a weight NaN at the end of a step."""
    from ngrpo.training.trainer import Trainer

    take = Trainer.step

    def breaking(self: Trainer, number: int) -> None:
        take(self, number)
        if number == step:
            next(iter(self.learner.updater.parameters.values())).data.view(-1)[0] = float("nan")

    Trainer.step = breaking  # type: ignore[method-assign]
