"""Hydra overrides in a list, a command line or a shell script: `a.b=value` words, with the script's plain variables."""

from __future__ import annotations

import re

from ngrpo.linting.located import Flat, scalar
from ngrpo.linting.view import UNKNOWN, Located

_OVERRIDE = re.compile(r"""(?:^|[\s'"])(\+{0,2}~?[a-z_][\w@/]*(?:\.[\w@/]+)+)=("[^"]*"|'[^']*'|[^\s\\]*)""")
_ASSIGNED = re.compile(r"""\s*(?:export\s+)?([A-Za-z_]\w*)=("[^"]*"|'[^']*'|[^\s;#&|]*)\s*(?:[;#].*)?$""")
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}|\$(\w+)")


def override_settings(text: str) -> tuple[Flat, dict[str, int]]:
    """Returns the settings of overrides, the last of each key, and the line of the last where two values differ.

    A variable of a shell script counts where the script assigns it one plain value; what else a shell would compute is
    UNKNOWN.
    """
    variables: dict[str, str] = {}
    flat: Flat = {}
    repeated: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if line.lstrip().startswith("#"):
            continue
        if (assigned := _ASSIGNED.match(line)) and "." not in assigned[1]:
            name, value = assigned[1], _expanded(assigned[2].strip("\"'"), variables)
            variables[name] = value if variables.get(name, value) == value else "$unknown"
            continue
        for match in _OVERRIDE.finditer(line):
            key = match[1].lstrip("+~")
            value = scalar(_expanded(match[2].strip("\"'"), variables))
            if key in flat and flat[key].value != value and UNKNOWN not in (flat[key].value, value):
                repeated[key] = number
            flat[key] = Located(value, number)
    return flat, repeated


def _expanded(text: str, variables: dict[str, str]) -> str:
    def replaced(match: re.Match[str]) -> str:
        return variables.get(match[1] or match[3], match[2] or match[0])

    return _VARIABLE.sub(replaced, text)
