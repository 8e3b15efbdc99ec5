"""Where a model path leads: a model shipped in assets/, a folder of the user, or the hub."""

from __future__ import annotations

import re
from pathlib import Path

from ngrpo.errors import ConfigError

BUILTIN_PREFIX = "builtin:"
_ASSETS = Path(__file__).parent / "assets"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")


def resolve_model_path(path: str) -> str:
    """Returns the folder or hub id that a model path stands for, without loading anything.

    Args:
        path: `builtin:NAME`, a folder in Hugging Face format, or a hub id.

    Returns:
        The absolute path of a folder (an adapter saved later names it as its base), or the hub id.

    Raises:
        ConfigError: when it is none of these.
    """
    if path.startswith(BUILTIN_PREFIX):
        shipped = sorted(p.parent.name for p in _ASSETS.glob("*/config.json"))
        name = path.removeprefix(BUILTIN_PREFIX)
        if name not in shipped:
            allowed = ", ".join(BUILTIN_PREFIX + known for known in shipped)
            raise ConfigError(f"no model '{path}' is shipped; allowed: {allowed}")
        return str(_ASSETS / name)
    folder = _existing(path)
    if folder is None:
        if not _HUB_ID.fullmatch(path):
            raise ConfigError(f"model path '{path}' does not exist")
        return path
    if not folder.is_dir():
        raise ConfigError(f"model path '{path}' is a file; a folder in Hugging Face format is needed")
    if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise ConfigError(f"model folder '{path}' has no config.json: not a model in Hugging Face format")
    if (folder / "checkpoints").is_dir():
        raise ConfigError(f"model folder '{path}' is the folder of a run; its models are in '{path}/checkpoints'")
    return str(folder.resolve())


def _existing(path: str) -> Path | None:
    """Returns the file or folder that a path names, None where there is none or the text can be no path."""
    try:
        found = Path(path).expanduser()
        return found if path and found.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long, no such user, a NUL
        return None
