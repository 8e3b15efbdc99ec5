"""Kills runs and evaluations at random moments, resumes them, and compares every byte with an undisturbed one.

    python benchmarks/kill_resume.py --kills 100

NGRPO, PPO, DAPO with refill and LoRA runs of the shipped model, and evaluations by the model itself and by a server.
Each process gets a SIGKILL: in a phase (sampling, grading, updates, saving, evaluating, writing, renaming) at a random
entry and after a random delay, or at a random moment of its life. A killed command is simply repeated with --resume
auto (`eval`: --resume). Processes are forked from one that has imported everything (benchmarks/forked_commands.py).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

if not __package__:
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.forked_commands import CommandServer

CONFIG = """
[model]
path = "builtin:countdown-base"
device = "cpu"
[task]
name = "countdown"
train_size = 60
test_size = 8
[sampling]
problems_per_step = 8
group_size = 4
max_sequences = 8
max_prompt_tokens = 32
max_completion_tokens = 8
[optimizer]
lr = 5e-4
[evaluation]
samples = 2
max_completion_tokens = 8
every = 2
[run]
steps = 5
save_every = 2
"""
RUNS = {
    "NGRPO": (),
    "PPO": ("method.name=ppo", "method.critic_lr=1e-3"),
    "DAPO with refill": ("method.name=dapo", "method.overlong_buffer_tokens=2", "method.max_refill_factor=2.0"),
    "LoRA (GRPO)": ("method.name=grpo", "model.lora.rank=4", "optimizer.lr=1e-3"),
}
EVALUATIONS = ("eval, transformers", "eval, server")
PHASES = ("sampling", "grading", "updates", "saving", "evaluating", "writing", "renaming", "any moment")
EVALUATION_PHASES = ("sampling", "writing", "renaming", "any moment")
KILLS_PER_FOLDER = 5
"""So many kills of one run, then it is left to finish, and compared."""


def kill_in(phase: str, entry: int, seconds: float) -> None:
    """Prepares this process to kill itself: in a phase's `entry`-th time, after some seconds."""
    send_in(phase, entry, seconds, signal.SIGKILL)


def send_in(phase: str, entry: int, seconds: float, number: int) -> None:
    """Prepares this process to send itself a signal: in a phase's `entry`-th time, after some seconds."""
    import ngrpo.training.trainer as trainer
    from ngrpo import storage
    from ngrpo.evaluation.journal import Journal
    from ngrpo.runs.run_dir import RunDir
    from ngrpo.sampling.endpoint.endpoint_sampler import EndpointSampler
    from ngrpo.sampling.transformers_sampler import TransformersSampler
    from ngrpo.training import collect
    from ngrpo.training.learner import Learner
    from ngrpo.training.optimizer import Updater

    places: dict[str, list[tuple[Any, str]]] = {
        "sampling": [(TransformersSampler, "_sample"), (EndpointSampler, "stream")],
        "grading": [(collect, "grade_groups")],
        "updates": [(Updater, "take_step")],
        "saving": [(Learner, "save")],
        "evaluating": [(trainer, "evaluate")],
        "writing": [(RunDir, "append_rollouts"), (RunDir, "append_metrics"), (Journal, "_write")],
        "renaming": [(storage, "_rename_folder"), (Path, "replace"), (Path, "rename")],
    }
    entries = Counter[str]()

    def killing(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            entries[phase] += 1
            if entries[phase] == entry:
                threading.Timer(seconds, os.kill, (os.getpid(), number)).start()
            return function(*arguments, **options)

        return call

    for owner, name in places[phase]:
        setattr(owner, name, killing(getattr(owner, name)))


def contents(folder: Path) -> dict[str, Any]:
    """Returns what two equal runs have in common: all but times, the place of the folder, and older checkpoints."""
    found: dict[str, Any] = {}
    newest = max(folder.glob("checkpoints/step_*"), default=None)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name in {"config.json", ".lock"} or (name.startswith("checkpoints/") and newest not in path.parents):
            continue
        if path.name == "metrics.jsonl":
            lines = map(json.loads, path.read_text().splitlines())
            found[name] = [{k: v for k, v in line.items() if not k.startswith("time/")} for line in lines]
        elif path.name == "manifest.json":  # it has the size of metrics.jsonl, in which there are times
            found[name] = json.loads(path.read_text())["files"]
        else:
            found[name] = path.read_bytes()
    return found


class Case:
    """One run or evaluation that is killed and resumed.

    Args:
        name: of `RUNS` or `EVALUATIONS`.
        base: where its folders are.
        server: starts the commands.
        url: of the server that samples, for an evaluation by it.
    """

    def __init__(self, name: str, base: Path, server: CommandServer, url: str) -> None:
        self.name, self._server, self._url = name, server, url
        self._base = base / "".join(c if c.isalnum() else "_" for c in name)
        self._base.mkdir()
        (self._base / "config.toml").write_text(CONFIG)
        self.is_run = name in RUNS
        self.phases = PHASES if self.is_run else EVALUATION_PHASES
        self.expected: dict[str, Any] = {}
        self.seconds = 0.0
        self.kills = Counter[str]()
        self.finished = self.equal = 0

    def prepare(self) -> None:
        """Makes the undisturbed run."""
        started = time.monotonic()
        self._finish(self._base / "whole")
        self.seconds = time.monotonic() - started
        self.expected = contents(self._base / "whole")

    def round(self, rng: random.Random, kills: int) -> None:
        """Kills one run or evaluation so many times, lets it finish, and compares it."""
        folder = self._base / f"killed{self.finished}"
        arrived: dict[tuple[str, int], str] = {}
        for _ in range(4 * kills):
            if kills == 0:
                break
            phase = rng.choice(self.phases)
            if self._is_killed(folder, phase, rng):
                self.kills[phase] += 1
                kills -= 1
                arrived |= journaled(folder)
            if (folder / "summary.json").exists() or (folder / "checkpoints" / "step_000005").exists():
                break
        self._finish(folder)
        self.finished += 1
        self.equal += self._is_equal(folder, arrived)

    def _is_equal(self, folder: Path, arrived: dict[tuple[str, int], str]) -> bool:
        found = contents(folder)
        if self.name != "eval, server":
            return found == self.expected
        rows = [json.loads(line) for line in found["samples.jsonl"].splitlines()]
        texts = {(row["problem_id"], row["sample"]): row["completion"] for row in rows}
        # Each answer of the server is another text: a completion that had arrived and was sampled again would differ.
        return len(texts) == len(rows) == 8 * 16 and all(texts[key] == text for key, text in arrived.items())

    def _command(self, folder: Path) -> list[object]:
        if self.is_run:
            overrides = [part for setting in RUNS[self.name] for part in ("--set", setting)]
            return ["train", self._base / "config.toml", *overrides, "--out", folder, "--resume", "auto"]
        size = [
            "--set",
            "task.test_size=8",
            "--samples",
            16,
            "--max-completion-tokens",
            10,
            "--out",
            folder,
            "--resume",
        ]
        if self.name == "eval, server":
            server = ["--sampler", "endpoint", "--url", self._url, "--set", "endpoint.concurrency=4"]
            return ["eval", "m", "--task", "countdown", *server, *size]
        model = ["builtin:countdown-base", "--set", "model.device=cpu", "--set", "sampling.max_sequences=16"]
        return ["eval", *model, "--task", "countdown", *size]

    def _is_killed(self, folder: Path, phase: str, rng: random.Random) -> bool:
        out, err = self._base / "out.txt", self._base / "err.txt"
        if phase == "any moment":
            command = self._server.start(self._command(folder), out=out, err=err)
            deadline = time.monotonic() + rng.uniform(0.0, self.seconds)
            while time.monotonic() < deadline and command.poll() is None:
                time.sleep(0.005)
            command.kill(signal.SIGKILL)
        else:
            hook = ("benchmarks.kill_resume:kill_in", phase, rng.randint(1, 6), rng.choice((0.0, rng.uniform(0, 0.05))))
            command = self._server.start(self._command(folder), out=out, err=err, hook=hook)
        status = command.wait()
        if status not in {0, -signal.SIGKILL}:
            raise SystemExit(f"{self.name}, {phase}: status {status}: {err.read_text()}")
        return status != 0

    def _finish(self, folder: Path) -> None:
        err = self._base / "err.txt"
        status = self._server.start(self._command(folder), out=self._base / "out.txt", err=err).wait()
        if status != 0:
            raise SystemExit(f"{self.name}: status {status}: {err.read_text()}")


def journaled(folder: Path) -> dict[tuple[str, int], str]:
    """Returns the completions that an unfinished evaluation has on disk."""
    path = folder / ".samples.jsonl.journal"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return {(row["problem_id"], row["sample"]): row["completion"] for row in rows if "completion" in row}


@contextmanager
def sampling_server() -> Iterator[str]:
    """Gives the address of a server each of whose answers is another text."""
    from tests.sampling.endpoint.fake_endpoint import answer_of, running

    numbers = iter(range(10**9))

    def answer(path: str, body: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.01)
        answer = answer_of(path, body)
        choice = answer["choices"][0]
        text = f"answer {next(numbers)}"
        choice.update({"message": {"role": "assistant", "content": text}} if "message" in choice else {"text": text})
        return answer

    with running() as fake:
        fake.max_model_len, fake.answer_of = 10_000, answer
        yield f"http://127.0.0.1:{fake.port}"


def measure(kills: int, seed: int, names: tuple[str, ...], server: CommandServer) -> list[Case]:
    """Returns the cases after so many kills in all, dealt out evenly."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="kill-resume-") as base, sampling_server() as url:
        cases = [Case(name, Path(base), server, url) for name in names]
        for case in cases:
            case.prepare()
        while (left := kills - sum(case.kills.total() for case in cases)) > 0:
            case = min(cases, key=lambda case: case.kills.total())
            case.round(rng, min(KILLS_PER_FOLDER, left))
            print(f"{kills - left} kills so far", file=sys.stderr, flush=True)
    return cases


def table(cases: list[Case]) -> str:
    """Returns the counts as a table for docs/reliability.md."""
    lines = ["| case | kills | " + " | ".join(PHASES) + " | folders | equal |", "|---" * (len(PHASES) + 4) + "|"]
    for case in cases:
        counts = " | ".join(str(case.kills[phase]) for phase in PHASES)
        lines.append(f"| {case.name} | {case.kills.total()} | {counts} | {case.finished} | {case.equal} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table; status 1 when a folder differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with CommandServer() as server:
        cases = measure(arguments.kills, arguments.seed, (*RUNS, *EVALUATIONS), server)
    print(table(cases))
    sys.exit(any(case.equal < case.finished for case in cases))


if __name__ == "__main__":
    main()
