"""From a task's spec to the task, importing only the module that holds it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ngrpo.errors import ConfigError
from ngrpo.tasks.hub_sources import HUB
from ngrpo.tasks.table_rows import is_readable
from ngrpo.tasks.task import Task

TASKS: dict[str, tuple[str, str]] = {
    "countdown": ("ngrpo.tasks.countdown", "Countdown"),
    "arithmetic": ("ngrpo.tasks.arithmetic", "Arithmetic"),
    **dict.fromkeys(HUB, ("ngrpo.tasks.math", "Math")),
    "gym": ("ngrpo.tasks.gym", "Gym"),
    "verifiers": ("ngrpo.tasks.verifiers_taskset", "VerifiersTaskset"),
    "hub": ("ngrpo.tasks.hub_task", "HubTask"),
    "file": ("ngrpo.tasks.file_task", "FileTask"),
}
"""A new task is one module with a `Task` subclass and one line here."""


def load_task(table: Mapping[str, Any], *, where: str = "") -> Task:
    """Returns the task of a `[task]` table; only its settings are checked, no data are read yet.

    Args:
        table: the settings, `name` among them: NAME or NAME:PATH.
        where: what an error message puts before the key.

    Raises:
        ConfigError: for an unknown task or a wrong setting.
    """
    name = table.get("name")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{where}'name' must be a task such as 'countdown' or 'file:PATH', got {name!r}")
    kind = name.partition(":")[0]
    if kind not in TASKS and (is_readable(name) or "/" in name):
        raise ConfigError(f"{where}unknown task '{name}'; for problems from a file write 'file:{name}'")
    if kind not in TASKS:
        raise ConfigError(
            f"{where}unknown task '{name}'; allowed: {', '.join(TASKS)} "
            "(gym:NAME, verifiers:NAME, hub:OWNER/NAME, file:PATH)"
        )
    module, attribute = TASKS[kind]
    task: type[Task] = getattr(import_module(module), attribute)
    return task.parse(table, where=where)
