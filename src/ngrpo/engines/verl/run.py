"""Starting verl's own entry point, following what it does, and ending it with all that it started."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ngrpo.engines.verl import guard
from ngrpo.engines.verl.overrides import EXTERNAL, verl_command, verl_environment
from ngrpo.engines.verl.phases import PhaseFollower
from ngrpo.engines.verl.results import Results
from ngrpo.engines.verl.verl_files import VerlFiles, write_inputs
from ngrpo.errors import TrainingError
from ngrpo.evaluation.evaluate import EvaluationPlan, problems_of
from ngrpo.runs.announcement import run_facts

if TYPE_CHECKING:
    from ngrpo.config import Config
    from ngrpo.runs.observer import Observer
    from ngrpo.runs.run_dir import RunDir

_SECONDS_BETWEEN_LOOKS = 0.5
_TAIL = 200_000
"""Bytes of the log in which the error is looked for."""
_ERROR = re.compile(r"(?:\([^)]*pid=[^)]*\) )?((?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt|Exit)(?:\([\w.]*\))?: .+)")


def run_verl(config: Config, run: RunDir, observer: Observer, *, resume: bool = False) -> None:
    """Trains with verl in a run folder; what verl prints goes to its verl/log.txt.

    However this ends, by an error, by Ctrl-C or by a kill, what was started ends too (see `ngrpo.engines.verl.guard`).

    Args:
        config: the resolved config, which already stands in the run folder.
        run: the run folder.
        observer: is told of every step and evaluation.
        resume: go on from verl's newest checkpoint there.

    Raises:
        ConfigError: for a setting that verl does not support.
        CheckpointError: when there is nothing to resume from.
        TrainingError: when verl ends with an error; what it printed says which.
    """
    command, files = verl_command(config, run.path, resume=resume), VerlFiles(run.path)
    results = Results(config, run, observer)
    if resume:
        results.prepare_resume()
    facts = [*run_facts(config), *first_evaluation_fact(config)]
    observer.on_start(facts, first_step=results.step + 1, last_step=config.run.steps)
    observer.on_phase("preparing the problems")
    write_inputs(config, run.path)
    files.lost.unlink(missing_ok=True)
    phases = PhaseFollower(files.phase, observer)
    observer.on_message(f"output of verl: {files.log}")
    observer.on_phase("starting verl" if config.cluster.ray_address else "starting verl and Ray")
    with files.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", guard.__name__, *command],
            env=_environment(config, run.path),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while process.poll() is None:
            phases.look()
            results.take_over()
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    finally:
        _end(process)
        phases.look()
        results.take_over()
    if process.returncode != 0:
        raise TrainingError(f"verl ended with status {process.returncode}: {_reason(files)}; see {files.log}")


def _reason(files: VerlFiles) -> str:
    return files.lost.read_text(encoding="utf-8") if files.lost.is_file() else last_error(files.log)


def last_error(log: Path) -> str:
    """Returns the last line of a log that names an error, one of ours before others, or its last line of all."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL))
        text = re.sub(r"\x1b\[[0-9;]*m", "", file.read().decode("utf-8", "replace"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [found[1] for line in lines if (found := _ERROR.fullmatch(line))]
    ours = [error for error in errors if error.startswith("ngrpo.errors.")]
    return (ours or errors or lines or ["it printed nothing"])[-1]


def first_evaluation_fact(config: Config) -> list[str]:
    """Returns how many completions are sampled before the first step, and the settings for fewer, if any are."""
    if not config.evaluation.every:
        return []
    plan = EvaluationPlan.of(config)
    problems = sum(len(problems_of(task, plan)) for task in config.evaluation_tasks())
    return [
        f"evaluation before the first step: {problems * plan.samples:,} completions ({problems:,} problems x "
        f"{plan.samples}); fewer with [evaluation] problems or samples, none with every = 0"
    ]


def _environment(config: Config, run_folder: Path) -> dict[str, str]:
    environment = {**os.environ, **verl_environment(config, run_folder)}
    if own := os.environ.get(EXTERNAL):
        environment[EXTERNAL] += f",{own}"  # modules of the user's own
    return environment


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks the guard to end its group, and ends what is left of it."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(1.5 * guard.SECONDS_TO_END)
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # nothing is left
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
