"""A config's file -> its view -> findings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ngrpo.config import Config, apply_overrides
from ngrpo.errors import ConfigError
from ngrpo.linting import rules_batch, rules_clip, rules_groups, rules_sampling
from ngrpo.linting.located import Flat, toml_settings, yaml_settings
from ngrpo.linting.python_calls import config_call
from ngrpo.linting.rule import Finding, Rule, found_by
from ngrpo.linting.shell_words import override_settings
from ngrpo.linting.view import ConfigView, Tool
from ngrpo.linting.view_ours import view_of_config, view_of_tables
from ngrpo.linting.view_prime import view_of_prime
from ngrpo.linting.view_trl import DEFAULTS as TRL_DEFAULTS
from ngrpo.linting.view_trl import Style, view_of_trl
from ngrpo.linting.view_verl import view_of_verl

RULES: tuple[Rule, ...] = (*rules_groups.ALL, *rules_clip.ALL, *rules_batch.ALL, *rules_sampling.ALL)
"""Every rule, in the order of what it is about."""

LARGEST_BYTES = 10_000_000
_SETTING = re.compile(r"\[(\w+)\][^']*?'?(\w+)'?")


class Linted(NamedTuple):
    """Whose config a file is, and what was found in it, in the order of its lines."""

    tool: Tool
    findings: list[Finding]


def lint_file(path: Path, overrides: Sequence[str] = ()) -> Linted:
    """Returns what the rules find in a config file of any of the four tools; nothing in it is executed.

    Args:
        path: .toml (ours, prime-rl), .json (ours, TRL), .yaml or .yml (TRL, verl), .py (TRL), .sh or .txt (verl's
            overrides).
        overrides: settings such as `"method.name=grpo"`, for a config of ours alone.

    Raises:
        ConfigError: for a file that cannot be read or is no config.
    """
    text = _text(path)
    try:
        reader = READERS[path.suffix.lower()]
    except KeyError:
        allowed = ", ".join(READERS)
        raise ConfigError(f"{path}: unknown ending '{path.suffix}', allowed: {allowed}") from None
    try:
        view = reader(text, overrides)
    except _Unloadable as broken:
        return Linted("ngrpo", [broken.finding])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if overrides and view.tool != "ngrpo":
        raise ConfigError(f"{path}: --set is for a config of ngrpo, this is one of {view.tool}")
    return Linted(view.tool, _findings(view))


def lint_config(config: Config) -> list[Finding]:
    """Returns what the rules find in a checked config of ours."""
    return _findings(view_of_config(config))


def _findings(view: ConfigView) -> list[Finding]:
    found = [finding for rule in RULES for finding in found_by(rule, view)]
    return sorted(found, key=lambda finding: finding.line or 1_000_000)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ConfigError(f"{path}: too large for a config ({path.stat().st_size:,} bytes)")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from None


class _Unloadable(Exception):  # noqa: N818 - a result, not an error
    """A config of ours that `ngrpo train` would refuse."""

    def __init__(self, error: ConfigError, raw: Flat) -> None:
        named = _SETTING.search(str(error))
        key = f"{named[1]}.{named[2]}" if named else ""
        line = raw[key].line if key in raw else 0
        known = key if key in raw else ""
        self.finding = Finding("does-not-load", "error", known, line, str(error), "", "docs/config.md")


def _read_toml(text: str, overrides: Sequence[str]) -> ConfigView:
    import tomllib

    raw = toml_settings(text)
    tables = tomllib.loads(text)
    if "task" in tables or "method" in tables or {"sampling", "optimizer"} & tables.keys():
        return _ours(raw, tables, overrides)
    return view_of_prime(raw)


def _read_json(text: str, overrides: Sequence[str]) -> ConfigView:
    try:
        tables = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"not valid JSON: {error}") from None
    if not isinstance(tables, dict):
        raise ConfigError(f"a config is a table, got {type(tables).__name__}")
    raw, repeated = yaml_settings(text)
    if isinstance(tables.get("config"), dict):  # the config.json of a run
        tables = tables["config"]
        raw = {key.removeprefix("config."): value for key, value in raw.items()}
    if "task" in tables and "method" in tables:
        return _ours(raw, tables, overrides)
    if _is_verl(raw):
        return view_of_verl(raw, style="override", repeated=repeated)
    return _trl(raw, repeated, "json")


def _ours(raw: Flat, tables: Mapping[str, Any], overrides: Sequence[str]) -> ConfigView:
    changed = {name: dict(table) if isinstance(table, Mapping) else table for name, table in tables.items()}
    apply_overrides(changed, overrides)
    try:
        return view_of_tables(raw, changed)
    except ConfigError as error:
        raise _Unloadable(error, raw) from None


def _read_yaml(text: str, overrides: Sequence[str]) -> ConfigView:  # noqa: ARG001
    raw, repeated = yaml_settings(text)
    if _is_verl(raw):
        return view_of_verl(raw, style="override", repeated=repeated)
    return _trl(raw, repeated, "yaml")


def _is_verl(raw: Flat) -> bool:
    """Returns whether keys are those of verl's RL trainer; its supervised one has none of them."""
    return any(key.startswith(("actor_rollout_ref.", "algorithm.")) for key in raw)


def _trl(raw: Flat, repeated: Mapping[str, int], style: Style) -> ConfigView:
    if not {key for key, _ in TRL_DEFAULTS.values()} & raw.keys():
        raise ConfigError("no setting of TRL's GRPOConfig, of verl's RL trainer, or of ngrpo in this file")
    return view_of_trl(raw, style=style, ours="method_args" in raw, repeated=repeated)


def _read_python(text: str, overrides: Sequence[str]) -> ConfigView:  # noqa: ARG001
    call = config_call(text)
    ours = call.name.startswith("NGRPO")
    return view_of_trl(call.settings, style="python", partial=call.partial, ours=ours)


def _read_words(text: str, overrides: Sequence[str]) -> ConfigView:  # noqa: ARG001
    raw, repeated = override_settings(text)
    if not _is_verl(raw):
        raise ConfigError("no overrides of verl in this file, such as algorithm.adv_estimator=grpo")
    return view_of_verl(raw, style="override", repeated=repeated)


READERS: Mapping[str, Callable[[str, Sequence[str]], ConfigView]] = {
    ".toml": _read_toml,
    ".json": _read_json,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".py": _read_python,
    ".sh": _read_words,
    ".txt": _read_words,
}
"""Ending of a file -> what reads it."""
