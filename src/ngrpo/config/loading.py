"""From TOML, or a run's own config.json, to a `Config` that is checked as a whole before anything is loaded."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ngrpo.config.cluster_settings import ClusterSettings
from ngrpo.config.endpoint_settings import EndpointSettings
from ngrpo.config.optimizer_settings import OptimizerSettings
from ngrpo.config.run_settings import RunSettings
from ngrpo.config.tables import (
    Config,
    EvaluationSettings,
    ModelSettings,
    SamplingSettings,
)
from ngrpo.config.vllm_settings import VLLMSettings
from ngrpo.errors import ConfigError
from ngrpo.methods import DAPO, load_method
from ngrpo.settings import Settings, unknown_key
from ngrpo.tasks import load_task

_TABLES: Mapping[str, type[Settings]] = {
    "model": ModelSettings,
    "sampling": SamplingSettings,
    "optimizer": OptimizerSettings,
    "evaluation": EvaluationSettings,
    "run": RunSettings,
    "vllm": VLLMSettings,
    "endpoint": EndpointSettings,
    "cluster": ClusterSettings,
}


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Returns the checked config of a file.

    Args:
        path: a .toml file, or a .json file such as the config.json of a run.
        overrides: see `apply_overrides`.

    Raises:
        ConfigError: for a missing or malformed file, an unknown key, a wrong value or settings that contradict.
    """
    path = Path(path)
    tables = read_tables(path)
    apply_overrides(tables, overrides)
    return config_of(tables, where=f"{path}: ")


def config_of(tables: Mapping[str, Any], *, where: str = "") -> Config:
    """Returns the config of plain tables, checked as a whole.

    Args:
        tables: table name -> settings, as TOML or JSON gave them.
        where: what an error message begins with, such as the file's name.

    Raises:
        ConfigError: as `load_config`.
    """
    for name, table in tables.items():
        if name not in Config.model_fields:
            raise ConfigError(where + unknown_key(name, Config.model_fields))
        if not isinstance(table, Mapping):
            raise ConfigError(f"{where}'{name}' must be a table, [{name}], got {table!r}")
    if "task" not in tables:
        raise ConfigError(f"{where}the table [task] is missing; it needs at least 'name'")
    parts: dict[str, Any] = {
        name: model.parse(tables.get(name, {}), where=f"{where}[{name}] ") for name, model in _TABLES.items()
    }
    if parts["optimizer"].falls and not parts["optimizer"].decay_steps:
        parts["optimizer"] = parts["optimizer"].model_copy(update={"decay_steps": parts["run"].steps})
    config = Config.model_construct(
        task=load_task(tables["task"], where=f"{where}[task] "),
        method=load_method(tables.get("method", {}), where=f"{where}[method] "),
        **parts,
    )
    _check_together(config, where)
    _check_schedule(config.optimizer, where)
    return config


def _check_schedule(optimizer: OptimizerSettings, where: str) -> None:
    if optimizer.schedule == "constant" and optimizer.warmup_steps:
        raise ConfigError(
            f"{where}[optimizer] warmup_steps is {optimizer.warmup_steps}, but schedule is 'constant': use 'warmup'"
        )
    if not optimizer.falls and (optimizer.decay_steps or optimizer.decay_to):
        raise ConfigError(
            f"{where}[optimizer] decay_steps and decay_to are for the schedules 'linear' and 'cosine', schedule is "
            f"'{optimizer.schedule}'"
        )
    if optimizer.falls and optimizer.decay_steps <= optimizer.warmup_steps:
        raise ConfigError(
            f"{where}[optimizer] warmup_steps is {optimizer.warmup_steps}, but the schedule ends with step "
            f"{optimizer.decay_steps} (decay_steps, by default [run] steps)"
        )


def _check_together(config: Config, where: str) -> None:
    """Raises ConfigError where settings that are each valid do not work together."""
    method, sampling, optimizer = config.method, config.sampling, config.optimizer
    if sampling.group_size < method.least_group_size():
        raise ConfigError(
            f"{where}[sampling] group_size is {sampling.group_size}, but {method.name} compares the completions of a "
            f"group: at least {method.least_group_size()}"
        )
    if method.max_reward < config.task.max_reward:
        raise ConfigError(
            f"{where}[method] max_reward is {method.max_reward:g}, below the reward of a correct completion of task "
            f"'{config.task.name}', {config.task.max_reward:g}: a virtual completion must not be worse than a real one"
        )
    if getattr(method, "bounded_by_max_reward", False) and method.max_reward < config.task.highest_reward:
        raise ConfigError(
            f"{where}[task] graders add up to {config.task.highest_reward:g}, above [method] max_reward, "
            f"{method.max_reward:g}, which {method.name} needs as an upper bound: change one of them"
        )
    if optimizer.updates_per_step % optimizer.passes_per_step:
        raise ConfigError(
            f"{where}[optimizer] passes_per_step is {optimizer.passes_per_step}, which does not divide "
            f"updates_per_step, {optimizer.updates_per_step}"
        )
    if optimizer.updates_per_step // optimizer.passes_per_step > sampling.problems_per_step:
        raise ConfigError(
            f"{where}[optimizer] updates_per_step is {optimizer.updates_per_step}, but a pass has only "
            f"{sampling.problems_per_step} groups ([sampling] problems_per_step) for "
            f"{optimizer.updates_per_step // optimizer.passes_per_step} updates"
        )
    if isinstance(method, DAPO) and method.overlong_buffer_tokens >= sampling.max_completion_tokens:
        raise ConfigError(
            f"{where}[method] overlong_buffer_tokens is {method.overlong_buffer_tokens}, but completions have at most "
            f"{sampling.max_completion_tokens} tokens: give a smaller buffer, or 0 for no overlong penalty"
        )
    decoding = {key: getattr(config.evaluation, key) for key in ("top_k", "min_p", "stop")}
    decoding["stop"] = sampling.stop if decoding["stop"] is None else decoding["stop"]
    if sampling.kind.remote and (
        twice := [key for key, value in decoding.items() if value and key in config.endpoint.body]
    ):
        raise ConfigError(
            f"{where}[evaluation] {twice[0]} is set, and [endpoint] body has '{twice[0]}' too: remove one"
        )
    slugs = [task.slug for task in config.evaluation_tasks(where=where)]
    if len(set(slugs)) < len(slugs):
        raise ConfigError(f"{where}[evaluation] tasks must differ from each other, got {', '.join(slugs)}")


def read_tables(path: Path) -> dict[str, Any]:
    """Returns the tables of a TOML config, or of the config in a run's config.json, unchecked.

    Raises:
        ConfigError: when the file cannot be read, or is no table of tables.
    """
    if path.suffix not in {".toml", ".json"}:
        raise ConfigError(f"{path}: a config is a .toml file or a run's config.json")
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # TOML's, JSON's and UTF-8's decoding errors alike; deep nesting
        raise ConfigError(f"{path}: not valid {path.suffix[1:].upper()}: {error}") from None
    if isinstance(tables, dict) and path.suffix == ".json" and isinstance(tables.get("config"), dict):
        tables = tables["config"]
    if not isinstance(tables, dict):
        raise ConfigError(f"{path}: a config is a table of tables, got {type(tables).__name__}")
    return tables


def apply_overrides(tables: dict[str, Any], overrides: Sequence[str]) -> None:
    """Changes plain tables by settings such as `"method.name=grpo"`; the value is read as TOML, else as a plain string.

    Raises:
        ConfigError: for an override of another form.
    """
    for override in overrides:
        key, separator, text = override.partition("=")
        parts = key.strip().split(".")
        if not separator or len(parts) < 2 or not all(parts):
            raise ConfigError(f"--set takes TABLE.KEY=VALUE, got '{override}'")
        try:
            parsed = tomllib.loads(f"value = {text}")
        except (ValueError, RecursionError):  # no TOML, or an integer of thousands of digits
            parsed = {}
        # A bare word such as `grpo` needs no quotes on a command line; a text of several lines is no TOML value.
        value: Any = parsed["value"] if parsed.keys() == {"value"} else text.strip()
        table = tables
        for part in parts[:-1]:
            if table.get(part) is None:  # absent, or null in a run's config.json
                table[part] = {}
            table = table[part]
            if not isinstance(table, dict):
                raise ConfigError(f"--set {override}: '{part}' is not a table")
        table[parts[-1]] = value
