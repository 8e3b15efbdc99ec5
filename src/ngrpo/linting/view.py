"""`ConfigView`: the settings of any tool's config under the same names, each with the tool's own key and its line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Tool = Literal["ngrpo", "trl", "verl", "prime-rl"]


class Located(NamedTuple):
    """A value of a file and its line, 1-based; 0 where a file has no line for it."""

    value: Any
    line: int


class Setting(NamedTuple):
    """A setting: the tool's key, its value (None where it cannot be known), its line, and whether it was given."""

    key: str
    value: Any
    line: int = 0
    given: bool = False


class Unknown:
    """A value that the file does not show: a variable, an expression, an interpolation."""

    def __repr__(self) -> str:
        return "?"


UNKNOWN = Unknown()


@dataclass(frozen=True)
class ConfigView:
    """A config under neutral names.

    Args:
        tool: whose config it is.
        raw: the tool's own flat keys that the file gives.
        settings: neutral name -> setting; a name that the tool does not have is absent.
        partial: the file is only a part of a config (`**kwargs`, other files): defaults are not known.
        repeated: keys that were given more than once -> the line of the last.
        style: how a line to paste is written.
    """

    tool: Tool
    raw: Mapping[str, Located]
    settings: Mapping[str, Setting]
    partial: bool = False
    repeated: Mapping[str, int] = field(default_factory=dict)
    style: Literal["set", "yaml", "json", "python", "override", "option"] = "set"

    def value(self, name: str) -> Any:
        """Returns a neutral setting's value; None where it is absent or cannot be known."""
        setting = self.settings.get(name)
        if setting is None or setting.value is UNKNOWN or (self.partial and not setting.given):
            return None
        return setting.value

    def number(self, name: str) -> float | None:
        """Returns a neutral setting's value where it is a finite number, else None."""
        value = self.value(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return value if is_number and math.isfinite(value) else None

    def given(self, name: str) -> bool:
        """Returns whether the file gives a neutral setting."""
        setting = self.settings.get(name)
        return setting is not None and setting.given

    def own(self, key: str) -> Any:
        """Returns the value that the file gives a key of the tool; None where it gives none, or it cannot be known."""
        found = self.raw.get(key)
        return None if found is None or found.value is UNKNOWN else found.value

    def paste(self, name: str, value: Any) -> str:
        """Returns the line to paste that gives a neutral setting a value."""
        setting = self.settings.get(name)
        return self.paste_key(setting.key if setting else name, value)

    def paste_key(self, key: str, value: Any) -> str:
        """Returns the line to paste that gives a key of the tool a value."""
        if self.style in {"yaml", "json", "python"} and "." in key:  # a table of keywords
            table, _, inner = key.rpartition(".")
            return self.paste_key(table, {inner: value})
        text = value if isinstance(value, str) else json.dumps(value)
        if self.style == "set":
            return f"--set {key}={text}"
        if self.style == "yaml":
            return f"{key}: {json.dumps(value) if not isinstance(value, str) else value}"
        if self.style == "json":
            return f'"{key}": {json.dumps(value)}'
        if self.style == "python":
            return f"{key}={value!r}"
        if self.style == "option":
            return _option(key, value)
        return f"{key}={text}"


def _option(key: str, value: Any) -> str:
    """Returns an option of prime-rl's command line: kebab case, a switch for a truth value, JSON for an open table."""
    table, inside, inner = key.partition(".extra_body.")
    if inside:
        return f"--{table.replace('_', '-')}.extra-body '{json.dumps({inner: value})}'"
    name = key.replace("_", "-")
    if isinstance(value, bool):
        head, _, tail = name.rpartition(".")
        return f"--{name}" if value else f"--{head}.no-{tail}"
    return f"--{name} {value if isinstance(value, str) else json.dumps(value)}"
