"""`Rule` and `Finding`: what a rule is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ngrpo.linting.view import ConfigView, Tool

Level = Literal["error", "warning", "note"]


class Fault(NamedTuple):
    """What a rule sees: the setting it is about (a neutral name or a key of the tool), why, and a line to paste."""

    setting: str
    reason: str
    fix: str


Check = Callable[[ConfigView], Iterator[Fault]]


@dataclass(frozen=True)
class Rule:
    """A check, with its name, the level of what it finds, the paper or the page of docs, and the tools it is for."""

    name: str
    check: Check
    level: Level
    source: str
    tools: tuple[Tool, ...]


@dataclass(frozen=True)
class Finding:
    """A fault of a config: `line` is 0 where a default causes it, `key` is the tool's own."""

    rule: str
    level: Level
    key: str
    line: int
    reason: str
    fix: str
    source: str

    def to_json(self) -> dict[str, Any]:
        """Returns the finding as a JSON object; `line` is null where it is 0."""
        return {**self.__dict__, "line": self.line or None}


def found_by(rule: Rule, view: ConfigView) -> Iterator[Finding]:
    """Yields what a rule finds in a view."""
    if view.tool not in rule.tools:
        return
    for fault in rule.check(view):
        setting = view.settings.get(fault.setting)
        key = setting.key if setting else fault.setting
        line = setting.line if setting else 0
        if not line and key in view.raw:
            line = view.raw[key].line
        yield Finding(rule.name, rule.level, key, line, fault.reason, fault.fix, rule.source)
