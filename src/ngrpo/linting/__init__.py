"""What will not work as intended in a config of RL training: ours, TRL's, verl's or prime-rl's.

    located.py         text -> settings with their line: TOML, YAML, JSON, a Python call, a shell command
    view_*.py          a tool's keys -> one `ConfigView` under neutral names, one file per tool
    rules_*.py         rules: small functions of a view
    config_files.py    file -> view -> findings

Nothing here imports torch, and no config is executed.
"""

from ngrpo.linting.config_files import lint_config, lint_file
from ngrpo.linting.rule import Finding, Rule

__all__ = ["Finding", "Rule", "lint_config", "lint_file"]
