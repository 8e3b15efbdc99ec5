"""A run folder as the model of an evaluation: its newest checkpoint, its own task and settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ngrpo.errors import ConfigError, DataError, short_line
from ngrpo.runs.opening import sound_checkpoint
from ngrpo.runs.run_dir import RunDir

NO_TASK = "--task is required: only a run folder, or a checkpoint in one, has a task of its own"


def own_tables(model: str) -> Mapping[str, Any]:
    """Returns the task and the settings with which a run evaluates itself.

    Args:
        model: a run folder, or a checkpoint in one.

    Returns:
        The tables `task`, `evaluation` and `sampling`, as `config_of` reads them.

    Raises:
        ConfigError: for another path, or a run that evaluates several tasks.
        DataError: for a damaged config.json.
    """
    path = Path(model)
    folder = next((at for at in (path, path.parent.parent) if (at / "checkpoints").is_dir()), None)
    config = _config(folder / "config.json") if folder is not None else None
    if config is None:
        raise ConfigError(NO_TASK)
    evaluation, sampling = _table(config, "evaluation", folder), _table(config, "sampling", folder)
    tasks = evaluation.pop("tasks", None) or []
    if not isinstance(tasks, list):
        raise DataError(f"{folder}/config.json: [evaluation] tasks must be a list, got {short_line(repr(tasks), 60)}")
    if len(tasks) > 1:
        raise ConfigError(f"{folder} evaluates several tasks: choose one with --task, of {', '.join(map(str, tasks))}")
    return {
        "task": {"name": tasks[0]} if tasks else _table(config, "task", folder),
        "evaluation": evaluation,
        "sampling": {"keep_special_tokens": sampling.get("keep_special_tokens", [])},
    }


def checkpoint_of(model: str, say: Callable[[str], None] = lambda _text: None) -> str:
    """Returns the newest sound checkpoint where the path is a run folder, else the path; damaged ones are named.

    Raises:
        CheckpointError: when every checkpoint is damaged.
        ConfigError: for a run folder without one.
    """
    run = RunDir(Path(model))
    try:
        is_run = run.checkpoints_path.is_dir()
    except OSError as error:  # a name too long for any file
        raise ConfigError(f"model '{short_line(model, 60)}' cannot be looked up: {error.strerror}") from None
    if not is_run:
        return model
    newest = sound_checkpoint(run, say)
    if newest is None:
        raise ConfigError(f"run folder '{model}' has no checkpoint yet")
    return str(newest[1])


def _table(config: Mapping[str, Any], name: str, folder: Path | None) -> dict[str, Any]:
    table = config.get(name) or {}
    if not isinstance(table, dict):
        raise DataError(f"{folder}/config.json: [{name}] must be a table, got {short_line(repr(table), 60)}")
    return dict(table)


def _config(path: Path) -> Mapping[str, Any] | None:
    """Returns the config of a run, or None for a folder that is no run's."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    config = record.get("config") if isinstance(record, dict) else None
    return config if isinstance(config, dict) and "task" in config else None
