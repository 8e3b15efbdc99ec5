"""Writes docs/cli.md from the commands' own --help; `--check` only says whether it is up to date.

    python scripts/write_cli_docs.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
INTRODUCTION = """# Commands

Made by `python scripts/write_cli_docs.py` from the commands' own `--help`; do not edit.

Exit status: 0 done, 1 failed, 2 wrong usage or config, 130 interrupted. An error is one line on standard error. Commands
that print numbers take `--json`: one JSON object on standard output and nothing else.
"""


def help_of(*command: str) -> str:
    """Returns what `ngrpo COMMAND --help` prints on a terminal of 100 columns."""
    environment = os.environ | {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    arguments = [sys.executable, "-m", "ngrpo", *command, "--help"]
    out = subprocess.run(arguments, env=environment, capture_output=True, encoding="utf-8", check=True).stdout
    return out.replace("python -m ngrpo", "ngrpo").strip()


def page() -> str:
    """Returns the page."""
    overview = help_of()
    names = [line.split()[0] for line in overview.partition("Commands:")[2].splitlines() if line.startswith("  ")]
    commands = [name for name in names if name.isalpha()]
    sections = [f"## ngrpo\n\n```text\n{overview}\n```\n"]
    sections += [f"## ngrpo {name}\n\n```text\n{help_of(name)}\n```\n" for name in commands]
    return "\n".join([INTRODUCTION, *sections])


def main() -> None:
    """Writes or checks the page."""
    current = page()
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.read_text(encoding="utf-8") == current else f"{PAGE.name} is out of date")
    PAGE.write_text(current, encoding="utf-8")


if __name__ == "__main__":
    main()
