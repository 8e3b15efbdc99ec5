"""Text -> flat settings with their lines: TOML, YAML, JSON. Nothing is executed.

A key is dotted (`actor.optim.lr`); items of lists are not entered, but for tables in a TOML array of tables, whose keys
get the array's name and keep the first value.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from ngrpo.errors import ConfigError
from ngrpo.linting.view import UNKNOWN, Located

Flat = dict[str, Located]

MOST_KEYS = 20_000

_HEADER = re.compile(r"\s*\[{1,2}\s*([^\[\]]+?)\s*\]{1,2}\s*(#.*)?$")
_KEY = re.compile(r"\s*([A-Za-z0-9_\-.\"']+)\s*=")
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def toml_settings(text: str) -> Flat:
    """Returns the settings of a TOML text.

    Raises:
        ConfigError: when it is not TOML.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}") from None
    lines = _toml_lines(text)
    return {key: Located(value, lines.get(key, 0)) for key, value in flattened(tables)}


def flattened(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yields dotted key and value of nested tables, tables themselves included when they are empty."""
    for name, value in table.items():
        key = f"{before}{name}"
        if isinstance(value, Mapping):
            yield key, {}
            yield from flattened(value, f"{key}.")
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            seen = set()
            for item in value:
                for inner, found in flattened(item, f"{key}."):
                    if inner not in seen:
                        seen.add(inner)
                        yield inner, found
        else:
            yield key, value


def _toml_lines(text: str) -> dict[str, int]:
    table, lines = "", dict[str, int]()
    for number, line in enumerate(text.split("\n"), start=1):
        if header := _HEADER.match(line):
            table = _bare(header[1]) + "."
            lines.setdefault(table[:-1], number)
        elif key := _KEY.match(line):
            lines.setdefault(table + _bare(key[1]), number)
    return lines


def _bare(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))


def yaml_settings(text: str) -> tuple[Flat, dict[str, int]]:
    """Returns the settings of a YAML or JSON text, and the line of the last of a key with two different values.

    Raises:
        ConfigError: when it is not YAML, or not a table.
    """
    import yaml

    try:
        # JSON may be indented with tabs, which YAML forbids; a table is all that counts here.
        root = yaml.compose(text.replace("\t", " "), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"not valid YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError("expected a table of settings")
    flat: Flat = {}
    repeated: dict[str, int] = {}
    try:
        _enter(root, "", flat, repeated)
    except RecursionError:
        raise ConfigError("not a table of settings: it is nested too deep, or refers to itself") from None
    return flat, repeated


def _enter(node: Any, before: str, flat: Flat, repeated: dict[str, int]) -> None:
    for key_node, value_node in node.value:
        if len(flat) > MOST_KEYS:  # a few lines of references to each other can stand for billions
            raise ConfigError(f"more than {MOST_KEYS:,} settings")
        key, line = f"{before}{key_node.value}", key_node.start_mark.line + 1
        if key in flat and value_node.id != "mapping" and flat[key].value != _plain(value_node):
            repeated[key] = line
        if value_node.id == "mapping":
            flat[key] = Located({}, line)
            _enter(value_node, f"{key}.", flat, repeated)
        else:
            flat[key] = Located(_plain(value_node), line)


def _plain(node: Any) -> Any:
    if node.id == "sequence":
        return [_plain(item) for item in node.value]
    if node.id == "mapping":
        return {}
    if node.tag.endswith(":null"):
        return None
    if node.tag.endswith(":str") and node.style in {"'", '"'} and "${" not in node.value:
        return node.value
    return scalar(node.value)


def scalar(text: str) -> Any:
    """Returns the value of a bare word, as YAML, Hydra and a command line read it; an interpolation is UNKNOWN.

    >>> scalar("1e-6"), scalar("True"), scalar("null"), scalar("[1, 2]"), scalar("${x}"), scalar("grpo")
    (1e-06, True, None, [1, 2], ?, 'grpo')
    """
    word = text.strip()
    if "${" in word or "$(" in word or word.startswith("$"):
        return UNKNOWN
    lowered = word.lower()
    if lowered in {"true", "false"}:
        return lowered == "true"
    if lowered in {"null", "none", "~"}:
        return None
    if re.fullmatch(r"[-+]?\d{1,18}", word):
        return int(word)
    if _FLOAT.fullmatch(word):
        return float(word)
    if word[:1] in {"[", "{"}:
        try:
            return json.loads(word.replace("'", '"'))
        except (ValueError, RecursionError):
            return word
    return word.strip("\"'")
