"""What `ngrpo train` shows of a run before it starts: what fits into memory, and what it will take."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import typer


def show_fit(path: Path, overrides: Sequence[str], *, json_output: bool, quiet: bool) -> list[str]:
    """Prints the largest settings that fit into memory, and returns them as overrides.

    Args:
        path: the config.
        overrides: of its settings.
        json_output: print one JSON object in place of lines.
        quiet: print no lines.
    """
    from ngrpo.config import load_config
    from ngrpo.training.fit import fit
    from ngrpo.training.ranks import refuse_torchrun

    refuse_torchrun("--fit")
    found = fit(load_config(path, overrides), lambda text: None if quiet else typer.echo(text, err=True))
    if json_output:
        typer.echo(json.dumps(found.to_json()))
    for line in () if quiet else found.lines:
        typer.echo(line)
    return found.overrides


def show_dry_run(path: Path, overrides: Sequence[str], *, json_output: bool) -> None:
    """Prints what a run of the local engine will take, from one step that is thrown away."""
    from ngrpo.config import load_config
    from ngrpo.training.ranks import refuse_torchrun

    refuse_torchrun("--dry-run")
    config = load_config(path, overrides)
    from ngrpo.training.dry_run import dry_run

    result = dry_run(config)
    if json_output:
        typer.echo(json.dumps(result.to_json()))
    for line in () if json_output else result.lines:
        typer.echo(line)
