"""Values in the grammar of Hydra's command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z_/.][A-Za-z0-9_/.:@+-]*")
_RESERVED = {"null", "true", "false", "inf", "nan", "on", "off", "yes", "no"}


def hydra_override(key: str, value: Any) -> str:
    """Returns one override as Hydra's command line reads it.

    >>> hydra_override("a.b", 1e-6), hydra_override("+a", ["x y", None]), hydra_override("c", {"k": True})
    ('a.b=1e-06', "+a=['x y',null]", 'c={k:true}')
    """
    return f"{key}={hydra_value(value)}"


def hydra_value(value: Any) -> str:
    r"""Returns a value in Hydra's grammar; text that could be read as something else is quoted.

    >>> print(hydra_value("/runs/a"), hydra_value("true"), hydra_value("it's"))
    /runs/a 'true' 'it\'s'
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{hydra_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(hydra_value, value)) + "]"
    text = str(value)
    if _BARE.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    # Only backslashes before a quote are escapes there; `${` would be an interpolation.
    quoted = re.sub(r"(\\*)'", r"\1\1\\'", text)
    quoted = re.sub(r"(\\+)$", r"\1\1", quoted).replace("${", "\\${")
    return f"'{quoted}'"
