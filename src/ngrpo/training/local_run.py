"""A run of the local engine, from its checked config to its last step."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ngrpo.config import Config, config_of
from ngrpo.errors import NgrpoError, StoppedError
from ngrpo.folder_lock import locked_folder
from ngrpo.runs.checks import check_before_loading
from ngrpo.runs.observer import Observer, Observers
from ngrpo.runs.opening import OpenedRun, Resume, open_run, resume_command
from ngrpo.runs.run_dir import RunDir
from ngrpo.runs.storage_faults import storage_errors
from ngrpo.runs.termination import StopRequested
from ngrpo.training.ranks import Ranks


def train_locally(
    config: Config,
    path: Path,
    followers: Sequence[Observer],
    ranks: Ranks,
    *,
    before_start: Callable[[Config], None],
    resume: Resume,
    overwrite: bool,
) -> RunDir:
    """Trains in a run folder, and returns it.

    Args:
        config: the settings.
        path: the run folder.
        followers: are told what happens; the first one shows messages.
        ranks: the processes that share the work.
        before_start: is called where there are steps to take, before the model is loaded.
        resume: continue the run that is there.
        overwrite: replace the run that is there.

    Raises:
        NgrpoError: for whatever is wrong with the config, the data, the model or the folder, in one line.
    """
    ranks.check(config)
    check_before_loading(config)
    with locked_folder(path) if ranks.leads else nullcontext(), storage_errors(lambda: _kept(RunDir(path))):
        opened = _opened(ranks, path, config, followers[0].on_message, resume=resume, overwrite=overwrite)
        if not opened.finished:
            before_start(config)
            _train(opened.config, opened.run, followers, ranks)
    return opened.run


def _opened(
    ranks: Ranks,
    path: Path,
    config: Config,
    say: Callable[[str], None],
    *,
    resume: Resume,
    overwrite: bool,
) -> OpenedRun:
    """Opens the run folder in the first rank, and returns in each what is there."""
    opened: list[OpenedRun] = []

    def open_folder() -> list[Any]:
        opened.append(open_run(path, config, say, resume=resume, overwrite=overwrite))
        return [opened[0].config.to_json(), opened[0].finished]

    tables, finished = ranks.first(open_folder)
    return opened[0] if opened else OpenedRun(RunDir(path), config_of(tables), finished)


def _train(config: Config, run: RunDir, followers: Sequence[Observer], ranks: Ranks) -> None:
    from ngrpo.runs.trackers import tracker_observers
    from ngrpo.training.trainer import Trainer

    stop = ranks.stop
    with stop.handled():
        for follower in followers:
            follower.on_phase(f"loading {config.model.path}")
        try:
            with ranks.interruptible():
                trackers = tracker_observers(config, run.path) if ranks.leads else []
                observer = Observers([*followers, *trackers])
                trainer = Trainer(config, run, observer, ranks)
        except StopRequested:
            number = stop.requested or signal.SIGTERM
            again = f"{resume_command(run)} auto"
            raise StoppedError(f"stopped by {number.name} before the first step; start with: {again}", number) from None
        except NgrpoError:
            if ranks.leads:
                run.remove_if_unused()  # so that the same command works once the cause is removed
            raise
        try:
            trainer.train()
        finally:
            observer.close()


def _kept(run: RunDir) -> str:
    """Returns what a run has on disk after a failed write."""
    newest = run.latest_checkpoint()
    if newest is None:
        return f"no checkpoint yet; once there is space, start again with: {resume_command(run)} auto"
    return f"checkpoint {newest[1].name} is whole; once there is space, continue with: {resume_command(run)}"
