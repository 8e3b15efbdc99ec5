"""What is checked before a run starts or resumes: nothing is loaded and no folder is made for a run that cannot be."""

from __future__ import annotations

from importlib.util import find_spec

from ngrpo.config import Config
from ngrpo.errors import MissingDependencyError
from ngrpo.models.paths import resolve_model_path


def check_before_loading(config: Config) -> None:
    """Raises whatever can be known to be wrong before torch is imported or a run folder is made.

    Raises:
        ConfigError: when there is no such model, or its sampler cannot train.
        DataError: when the problems cannot be read or there are none.
        MissingDependencyError: when a package that the config needs is not installed.
    """
    if config.model.lora is not None and find_spec("peft") is None:
        raise MissingDependencyError("peft", "peft", "[model.lora]")
    if config.optimizer.name == "adamw_8bit" and find_spec("bitsandbytes") is None:
        raise MissingDependencyError("bitsandbytes", "bitsandbytes", "[optimizer] name 'adamw_8bit'")
    package = config.sampling.kind.package
    if package is not None and find_spec(package) is None:
        raise MissingDependencyError(package, package, f"[sampling] sampler '{config.sampling.sampler}'")
    for tracker in config.run.trackers:
        if find_spec(tracker) is None:
            raise MissingDependencyError(tracker, tracker, f"[run] trackers '{tracker}'")
    resolve_model_path(config.model.path)
    config.check_trainable()
    config.task.check_grader()
    if config.evaluation.in_run:
        for task in config.evaluation_tasks():
            task.problems(config.evaluation.split)
            task.check_grader()
