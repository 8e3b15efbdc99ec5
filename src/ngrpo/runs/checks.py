"""What is checked before a run starts or resumes: nothing is loaded and no folder is made for a run that cannot be."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ngrpo.config import Config
from ngrpo.errors import CheckpointError, ConfigError, MissingDependencyError
from ngrpo.models.paths import resolve_model_path
from ngrpo.runs.run_dir import RunDir


def check_before_loading(config: Config) -> None:
    """Raises whatever can be known to be wrong before torch is imported or a run folder is made.

    Raises:
        ConfigError: when there is no such model, or its sampler cannot train.
        DataError: when the problems cannot be read or there are none.
        MissingDependencyError: when a package that the config needs is not installed.
    """
    if config.model.lora is not None and find_spec("peft") is None:
        raise MissingDependencyError("peft", "peft", "[model.lora]")
    package = config.sampling.kind.package
    if package is not None and find_spec(package) is None:
        raise MissingDependencyError(package, package, f"[sampling] sampler '{config.sampling.sampler}'")
    for tracker in config.run.trackers:
        if find_spec(tracker) is None:
            raise MissingDependencyError(tracker, tracker, f"[run] trackers '{tracker}'")
    resolve_model_path(config.model.path)
    config.check_trainable()
    config.task.check_grader()
    if config.evaluation.every:
        for task in config.evaluation_tasks():
            task.problems("test")
            task.check_grader()


def resumed_run(folder: Path, config: Config) -> RunDir:
    """Returns the run folder that a local run continues.

    Raises:
        CheckpointError: for a run of verl, or one without a checkpoint.
        ConfigError: when the config differs from the run's own, or all of its steps are taken.
        DataError: when there is no run folder.
    """
    run = RunDir.open(folder)
    if run.verl_path.is_dir():
        raise CheckpointError(f"{folder} is a run of verl, whose checkpoints only verl can resume: add --engine verl")
    check_same_run(run.read_config()["config"], config.to_json())
    checkpoint = run.latest_checkpoint()
    if checkpoint is None:
        raise CheckpointError(f"{folder} has no checkpoint to resume from: start a new run with another --out")
    config.run.check_steps_left(folder, checkpoint[0])
    return run


def check_same_run(saved: dict[str, Any], current: dict[str, Any]) -> None:
    """Raises ConfigError when a resumed run's config differs from its own in more than length, saving or reporting.

    Args:
        saved: the config of the run folder.
        current: the config given with --resume.
    """
    free = {("run", key) for key in ("steps", "save_every", "trackers", "name", "keep_rollouts")}
    for table, settings in current.items():
        before = saved.get(table, {})
        for key in sorted(before.keys() | settings.keys()):
            if (table, key) not in free and before.get(key) != settings.get(key):
                raise ConfigError(
                    f"--resume: [{table}] {key} is {settings.get(key)!r}, but the run was started with "
                    f"{before.get(key)!r}; resume with its own config.json, or choose another --out"
                )
