"""Where a model path leads: a model shipped in this folder, a folder of the user, or the hub."""

from __future__ import annotations

import re
from pathlib import Path

from ngrpo.errors import ConfigError

BUILTIN_PREFIX = "builtin:"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def resolve_model_path(path: str) -> str:
    """Returns the folder or hub id that a model path stands for, without loading anything.

    Args:
        path: `builtin:NAME`, a folder in Hugging Face format, or a hub id.

    Raises:
        ConfigError: when it is none of these.
    """
    if path.startswith(BUILTIN_PREFIX):
        shipped = sorted(p.parent.name for p in Path(__file__).parent.glob("*/config.json"))
        name = path.removeprefix(BUILTIN_PREFIX)
        if name not in shipped:
            allowed = ", ".join(BUILTIN_PREFIX + known for known in shipped)
            raise ConfigError(f"no model '{path}' is shipped; allowed: {allowed}")
        return str(Path(__file__).parent / name)
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
            raise ConfigError(f"model folder '{path}' has no config.json: not a model in Hugging Face format")
        return str(folder)
    if folder.exists():
        raise ConfigError(f"model path '{path}' is a file; a folder in Hugging Face format is needed")
    if not _HUB_ID.fullmatch(path):
        raise ConfigError(f"model path '{path}' does not exist")
    return path
