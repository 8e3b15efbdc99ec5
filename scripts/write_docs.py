"""Writes what is made from the code: docs/cli.md from --help, docs/config.md from the config's fields, and in
docs/methods.md the table of advantages and a section for each method that has none.

python scripts/write_docs.py            write them
python scripts/write_docs.py --check    only say whether they are up to date
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import torch
from pydantic_core import PydanticUndefined

from ngrpo import advantages
from ngrpo.config import Config, LoraSettings
from ngrpo.methods import METHODS, GroupMethod, Method
from ngrpo.settings import Settings
from ngrpo.tasks.registry import TASKS
from ngrpo.tasks.task import Task

DOCS = Path(__file__).parents[1] / "docs"
COMMANDS = """# Commands

Made by `python scripts/write_docs.py` from the commands' own `--help`; do not edit.

Exit status: 0 done, 1 failed, 2 wrong usage or config, 130 interrupted. An error is one line on standard error.
Commands that print numbers take `--json`: one JSON object on standard output and nothing else.
"""

TABLE_HEAD = """| method | all-wrong | 1 of 8 correct | 4 of 8 | 7 of 8 | all-correct |
|---|---|---|---|---|---|"""

CONFIG = """# Config

Made by `python scripts/write_docs.py` from the source; do not edit.

A config is a TOML file with the tables below, or the `config.json` of a run. `--set table.key=value` overrides a
setting. An unknown key is an error that names the nearest valid one. Paths are relative to the current folder. The
defaults are the published setting of NGRPO, so `[model] path` and `[task] name` are all that a config must say; the
settings of each method stand in `[method]` beside its `name`, those of each task in `[task]`.
"""


def help_of(*command: str) -> str:
    """Returns what `ngrpo COMMAND --help` prints on a terminal of 100 columns."""
    environment = os.environ | {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    arguments = [sys.executable, "-m", "ngrpo", *command, "--help"]
    out = subprocess.run(arguments, env=environment, capture_output=True, encoding="utf-8", check=True).stdout
    return out.replace("python -m ngrpo", "ngrpo").strip()


def commands_page() -> str:
    """Returns the page."""
    overview = help_of()
    names = [line.split()[0] for line in overview.partition("Commands:")[2].splitlines() if line.startswith("  ")]
    commands = [name for name in names if name.isalpha()]
    sections = [f"## ngrpo\n\n```text\n{overview}\n```\n"]
    sections += [f"## ngrpo {name}\n\n```text\n{help_of(name)}\n```\n" for name in commands]
    return "\n".join([COMMANDS, *sections])


def table_of(settings: type[Settings], known: type[Settings] | None = None) -> Iterator[str]:
    """Yields the rows of a table of settings: key, default, meaning; without those that `known` has alike."""
    yield "| key | default | meaning |"
    yield "|---|---|---|"
    for name, field in settings.model_fields.items():
        if known is not None and name in known.model_fields:
            same = known.model_fields[name]
            if (same.default, same.description) == (field.default, field.description or same.description):
                continue
        value = field.get_default(call_default_factory=True)
        default = "required" if value is PydanticUndefined else _shown(value)
        meaning = " ".join((field.description or _inherited(settings, name)).split())
        yield f"| `{name}` | {default} | {meaning} |"


def _inherited(settings: type[Settings], name: str) -> str:
    for parent in settings.__mro__[1:]:
        field = getattr(parent, "model_fields", {}).get(name)
        if field is not None and field.description:
            return str(field.description)
    return ""


def _shown(value: object) -> str:
    text = repr(list(value) if isinstance(value, tuple) else value).replace("\n", "\\n").replace("|", "\\|")
    return "none" if value is None else f"`{text}`"


def tasks() -> dict[type[Task], list[str]]:
    """Returns each task's class with the specs that choose it, such as `file:PATH`."""
    found: dict[type[Task], list[str]] = {}
    for name, (module, attribute) in TASKS.items():
        task = getattr(import_module(module), attribute)
        found.setdefault(task, []).append(f"{name}:{task.argument}" if task.argument else name)
    return found


def config_page() -> str:
    """Returns the page."""
    parts = [CONFIG]
    for name, field in Config.model_fields.items():
        settings = field.annotation
        if isinstance(settings, type) and issubclass(settings, Settings) and settings not in {Task, Method}:
            parts.append(f"## [{name}]\n\n{settings.__doc__}\n\n" + "\n".join(table_of(settings)) + "\n")
    parts.append(f"## [model.lora]\n\n{LoraSettings.__doc__}\n\n" + "\n".join(table_of(LoraSettings)) + "\n")
    parts.append("## [task]\n\nEvery task has these:\n\n" + "\n".join(table_of(Task)) + "\n")
    for task, specs in tasks().items():
        parts.append(f"### {', '.join(specs)}\n\n{task.__doc__}\n\n" + "\n".join(table_of(task, Task)) + "\n")
    parts.append("## [method]\n\nEvery method has these:\n\n" + "\n".join(table_of(Method)) + "\n")
    for name, method in METHODS.items():
        rows = "\n".join(table_of(method, Method))
        parts.append(f"### {name}\n\n{method.__doc__}\n\nWhere it differs, and its own:\n\n{rows}\n")
    return "\n".join(parts)


def methods_page(page: str) -> str:
    """Returns docs/methods.md with today's table of advantages, and a section for each method that has none."""
    before, _, rest = page.partition(TABLE_HEAD)
    after = rest[rest.index("\n\n") :]
    rows = (advantages_row(name, method) for name, method in METHODS.items() if issubclass(method, GroupMethod))
    page = before + TABLE_HEAD + "".join(f"\n{row}" for row in rows) + after
    missing = [name for name in METHODS if f"\n## `{name}`\n" not in page]
    return page.rstrip() + "\n" + "".join(f"\n{method_section(name)}" for name in missing)


def advantages_row(name: str, kind: type[GroupMethod]) -> str:
    """Returns a correct and a wrong completion's advantage in groups of 8 with 0, 1, 4, 7 and 8 correct ones."""
    method = kind.parse({"name": name})
    table = method.advantages(torch.ones(9, 8, dtype=torch.float64).tril(-1)).tolist()
    dropped = {0: ("all", "all_incorrect"), 8: ("all", "all_correct")}
    cells = []
    for correct in (0, 1, 4, 7, 8):
        shown = [f"{value + 0.0:.3f}".replace("-0.000", "0.000") for value in (table[correct][0], table[correct][-1])]
        cell = shown[0] if correct == 8 else shown[1] if correct == 0 else " / ".join(shown)
        cells.append("dropped" if method.filter in dropped.get(correct, ()) else cell)
    return f"| `{name}` | " + " | ".join(cells) + " |"


def method_section(name: str) -> str:
    """Returns a method's docstring, paper, function and the settings in which it differs from the others."""
    method = METHODS[name]
    lines = [f"## `{name}`", "", f"**{method.__name__}.** {method.paper}. {method.__doc__}", ""]
    own = f"{name}_advantages"
    function = f"ngrpo.advantages.{own}" if hasattr(advantages, own) else f"{method.__module__}.{method.__name__}"
    lines += [f"The function is `{function}`.", ""]
    lines += ["| setting | default | source |", "|---|---|---|"]
    for key, field in method.model_fields.items():
        known = Method.model_fields.get(key)
        if key != "name" and (known is None or known.default != field.default):
            meaning = " ".join((field.description or _inherited(method, key)).split())
            lines.append(f"| `{key}` | `{json.dumps(field.default)}` | {meaning} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes or checks the pages."""
    methods = methods_page((DOCS / "methods.md").read_text(encoding="utf-8"))
    for name, content in (("cli.md", commands_page()), ("config.md", config_page()), ("methods.md", methods)):
        page = DOCS / name
        if "--check" not in sys.argv:
            page.write_text(content, encoding="utf-8")
        elif not page.is_file() or page.read_text(encoding="utf-8") != content:
            sys.exit(f"docs/{name} is out of date: python scripts/write_docs.py")


if __name__ == "__main__":
    main()
