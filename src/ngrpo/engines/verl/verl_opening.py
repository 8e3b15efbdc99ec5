"""Opening the run folder of a run through verl: new, continued from verl's newest checkpoint, or finished."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ngrpo.config import Config
from ngrpo.engines.verl.verl_files import VerlFiles
from ngrpo.errors import ConfigError
from ngrpo.runs.opening import OpenedRun, Resume, check_same_run
from ngrpo.runs.run_dir import RunDir


def open_verl_run(
    folder: Path, config: Config, say: Callable[[str], None], *, resume: Resume, overwrite: bool
) -> OpenedRun:
    """Returns the folder of a run that is about to start or to continue; the caller holds its lock.

    A run of verl that ended before its first step is taken over; one that ended before its first checkpoint starts
    again with `resume`.

    Args:
        folder: the run folder.
        config: the checked config.
        say: is given what a person should know, in one line.
        resume: continue the run that is there; "auto" also starts one where there is none, and accepts a finished one.
        overwrite: replace the run that is there.

    Raises:
        ConfigError: when the folder holds something else, the config differs from the run's own, or no step is left.
    """
    if resume and overwrite:
        raise ConfigError("--resume continues a run and --overwrite replaces it: choose one")
    found = (folder / "config.json").is_file()
    run = RunDir(folder)
    if found and resume:
        check_same_run(run.read_config()["config"], config.to_json())
        last = VerlFiles(folder).newest_step
        if last >= config.run.steps and resume == "auto":
            say(f"{folder} is finished: {last} of {config.run.steps} steps are taken")
            return OpenedRun(run, config, finished=True)
        if last > 0:
            return OpenedRun(run, config, continued=True)
        say(f"{folder} has no checkpoint yet: starting from step 1")
    elif resume is True:
        run = RunDir.open(folder)  # an error: there is no run
    unused = found and run.verl_path.is_dir() and not run.metrics_path.exists() and not run.checkpoints()
    replaced = overwrite or (found and bool(resume)) or unused
    run = RunDir.create(folder, config.to_json(), seed=config.run.seed, overwrite=replaced)
    return OpenedRun(run, config)
