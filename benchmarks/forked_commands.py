"""Commands of `ngrpo` as processes that start in milliseconds: a server imports everything once and forks for each.

    with CommandServer() as server:
        command = server.start(["train", "config.toml", "--out", "run"], out=Path("out.txt"), err=Path("err.txt"))
        command.kill(signal.SIGTERM)
        status = command.wait()  # negative: ended by a signal

Each process runs the command line's own `main` with its own signals, standard output and standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Command:
    """A process that runs one command."""

    pid: int
    server: CommandServer
    err: Path

    def kill(self, number: signal.Signals) -> None:
        """Sends a signal; nothing happens when the process has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def poll(self) -> int | None:
        """Returns the exit status, None while the process runs."""
        status = self.server.ask({"poll": self.pid})
        return None if status is None else int(status)

    def wait(self) -> int:
        """Returns the exit status, or minus the signal that ended the process."""
        return int(self.server.ask({"wait": self.pid}))


class CommandServer:
    """Starts commands; a context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.forked_commands"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.communicate("")

    def ask(self, request: Mapping[str, Any]) -> Any:
        """Returns the server's answer to a request."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, arguments: Sequence[object], *, out: Path, err: Path, hook: Sequence[object] = ()) -> Command:
        """Starts a command.

        Args:
            arguments: of `ngrpo`.
            out: where standard output goes.
            err: where standard error goes.
            hook: "module:function" and its arguments, called before the command.
        """
        request = {"argv": list(map(str, arguments)), "out": str(out), "err": str(err), "hook": list(hook)}
        return Command(int(self.ask(request)), self, err)


def _run(request: Mapping[str, Any]) -> None:
    """Runs a command in the forked process, and ends it."""
    for number, target in ((0, os.devnull), (1, request["out"]), (2, request["err"])):
        descriptor = os.open(target, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(descriptor, number)
        os.close(descriptor)
    from ngrpo.cli.main import main

    status = 1
    try:
        if request["hook"]:
            name, *arguments = request["hook"]
            module, _, function = name.partition(":")
            getattr(importlib.import_module(module), function)(*arguments)
        main(request["argv"])
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001  (what python would print)
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def warm_up() -> None:
    """Imports what is imported at the first use of a model or an optimiser; without autograd, which cannot fork."""

    from ngrpo.config import ModelSettings
    from ngrpo.models import load_language_model

    settings = ModelSettings.parse({"path": "builtin:countdown-base", "device": "cpu"})
    load_language_model(settings, for_training=False)


def _serve() -> None:
    import peft  # noqa: F401
    import torch
    import transformers  # noqa: F401

    import ngrpo.api
    import ngrpo.cli.main
    import ngrpo.evaluation.evaluation_run
    import ngrpo.sampling.samplers
    import ngrpo.training.trainer  # noqa: F401

    torch.set_num_threads(1)
    warm_up()
    answers, ended = os.fdopen(os.dup(1), "w"), dict[int, int]()
    for line in sys.stdin:
        request = json.loads(line)
        answer: int | None
        if "argv" in request:
            answer = os.fork()
            if answer == 0:
                _run(request)
        else:
            pid = request.get("wait") or request["poll"]
            if pid not in ended:
                found, status = os.waitpid(pid, 0 if "wait" in request else os.WNOHANG)
                if found:
                    ended[pid] = os.waitstatus_to_exitcode(status)
            answer = ended.get(pid)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
