"""Starting verl's own entry point, and ending it with all that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ngrpo.engines.verl_files import VerlFiles, write_problems
from ngrpo.engines.verl_overrides import verl_command, verl_environment
from ngrpo.errors import TrainingError

if TYPE_CHECKING:
    from ngrpo.config import Config

_EXTERNAL = "VERL_USE_EXTERNAL_MODULES"
_SECONDS_TO_END = 20.0


def run_verl(config: Config, run_folder: Path, *, resume: bool = False) -> Path:
    """Trains with verl below a run folder, its output on standard error, and returns the folder of its results.

    The processes are a group of their own: however this ends, Ctrl-C and errors included, the group is ended.

    Args:
        config: the resolved config, which already stands in the run folder.
        run_folder: see `verl_command`.
        resume: go on from verl's newest checkpoint there.

    Raises:
        ConfigError: for a setting that verl has no word for.
        TrainingError: when verl ends with an error; what it printed says which.
    """
    command = verl_command(config, run_folder, resume=resume)
    write_problems(config, run_folder)
    environment = {**os.environ, **verl_environment(config, run_folder)}
    if os.environ.get(_EXTERNAL) and environment[_EXTERNAL] != os.environ[_EXTERNAL]:
        environment[_EXTERNAL] += f",{os.environ[_EXTERNAL]}"  # modules of the user's own
    process = subprocess.Popen(command, env=environment, stdout=sys.stderr.fileno(), start_new_session=True)
    try:
        status = process.wait()
    finally:
        _end(process)
    folder = VerlFiles(run_folder).folder
    if status != 0:
        raise TrainingError(
            f"verl ended with status {status}: its own error stands above; what it finished is in {folder}"
        )
    return folder


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks the group to end, so that Ray takes its processes along, and then does not ask any more."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
            process.wait(_SECONDS_TO_END)
        except (ProcessLookupError, PermissionError):
            return
        except subprocess.TimeoutExpired:
            continue
