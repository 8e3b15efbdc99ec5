"""`Settings`: the parent of every config table, and the one place where a wrong value becomes a one-line `ConfigError`.

A table of the config file is a frozen pydantic model whose fields each carry a docstring line with their unit. Methods
and tasks are such models too, so that their settings and what they do stand in one place.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from ngrpo.errors import ConfigError


class Settings(BaseModel):
    """A table of settings: unknown keys are errors, values are not coerced between types, instances do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    renamed: ClassVar[Mapping[str, str]] = {}
    """Former names of keys, each with its present one."""

    @classmethod
    def parse(cls, table: Mapping[str, Any], *, where: str = "") -> Self:
        """Returns the validated settings of a plain table.

        Args:
            table: keys and values as TOML or JSON gave them.
            where: what the message puts before the key, such as `"demo.toml: [method] "`.

        Raises:
            ConfigError: for an unknown key (with the nearest valid one), a wrong type or a value out of range.
        """
        try:
            # Through JSON, strict mode still takes an array for a tuple and an integer for a float, and nothing looser.
            return cls.model_validate_json(json.dumps(table, default=str))
        except ValidationError as error:
            raise ConfigError(where + first_complaint(cls, error)) from None


def first_complaint(model: type[BaseModel], error: ValidationError) -> str:
    """Returns pydantic's first complaint as one line: the key, what was given, what is allowed."""
    complaint = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in complaint["loc"])
    if complaint["type"] == "extra_forbidden":
        now = getattr(model, "renamed", {}).get(key)
        if now is not None:
            return f"the key '{key}' is now '{now}'"
        allowed = _fields_at(model, complaint["loc"][:-1])
        return unknown_key(key, allowed)
    if complaint["type"] == "missing" and isinstance(complaint["loc"][-1], int):
        array = ".".join(str(part) for part in complaint["loc"][:-1])
        return f"'{array}': too few items, got {_shown(complaint['input'])}"
    if complaint["type"] == "missing":
        return f"the key '{key}' is missing"
    message = complaint["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if complaint["type"] == "value_error" and not key:
        return message
    return f"'{key}': {message}, got {_shown(complaint['input'])}"


def unknown_key(key: str, allowed: Iterable[str]) -> str:
    """Returns the line for a key that does not exist, naming the nearest one that does."""
    names = sorted(allowed)
    near = difflib.get_close_matches(key.rsplit(".", 1)[-1], names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"allowed: {', '.join(names)}"
    return f"unknown key '{key}'; {hint}"


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        # A table that may be left out is annotated as `Table | None`.
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()
        tables = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not tables:
            return []
        model = tables[0]
    return list(model.model_fields)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
