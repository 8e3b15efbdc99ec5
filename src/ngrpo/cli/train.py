"""`ngrpo train`: one run from a config."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ngrpo.choices import Engine
from ngrpo.errors import ConfigError

if TYPE_CHECKING:
    from ngrpo.runs.run_dir import RunDir

ResumeChoice = Literal["newest", "auto"]
"""Values of --resume, "newest" where none is given; see `with_resume_value`."""


def with_resume_value(arguments: Sequence[str]) -> list[str]:
    """Returns a command line of `train` in which --resume has a value, for the parser knows no optional ones.

    >>> with_resume_value(["a.toml", "--resume", "--json"]), with_resume_value(["a.toml", "--resume", "auto"])
    (['a.toml', '--resume=newest', '--json'], ['a.toml', '--resume=auto'])
    """
    joined: list[str] = []
    for argument in arguments:
        if argument == "auto" and joined and joined[-1] == "--resume=newest":
            joined[-1] = "--resume=auto"
        else:
            joined.append("--resume=newest" if argument == "--resume" else argument)
    return joined


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A TOML config, or the config.json of a run to repeat.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Override a setting; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The run folder.", show_default="runs/NAME")] = None,
    resume: Annotated[
        ResumeChoice | None,
        typer.Option(
            "--resume",
            metavar="[auto]",
            show_default=False,
            help="Continue from the newest sound checkpoint; with 'auto' also start a new run or accept a finished "
            "one, so that the command can be repeated.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run that the folder holds.")] = False,
    engine: Annotated[
        Engine, typer.Option("--engine", help="local, or verl: Ray, FSDP and vLLM, on the machines of [cluster].")
    ] = "local",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print verl's command and its environment, and start nothing.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object when done.")] = False,
) -> None:
    """Train a model from a config file into a run folder."""
    from ngrpo.api import train as train_run

    resumed: bool | Literal["auto"] = "auto" if resume == "auto" else resume is not None
    if dry_run:
        if engine == "local":
            raise ConfigError("--dry-run shows the command of --engine verl; --engine local has none")
        _show_verl_command(config, overrides or (), out, resume=bool(resumed), json_output=json_output)
        return
    run = train_run(
        config,
        out,
        overrides=overrides or (),
        resume=resumed,
        overwrite=overwrite,
        engine=engine,
        progress=not json_output,
    )
    typer.echo(json.dumps(result_of(run)) if json_output else f"run folder: {run.path}")


def _show_verl_command(
    path: Path, overrides: Sequence[str], out: Path | None, *, resume: bool, json_output: bool
) -> None:
    import shlex

    from ngrpo.config import load_config
    from ngrpo.engines.verl.overrides import verl_command, verl_environment
    from ngrpo.engines.verl.raw_overrides import check_schema

    config = load_config(path, overrides)
    folder = out or Path("runs") / config.run.name
    command = verl_command(config, folder, resume=resume)
    if config.cluster.overrides and not check_schema(config.cluster.overrides):
        typer.echo("ngrpo: verl is not installed here: [cluster.overrides] is not checked against its schema", err=True)
    environment = verl_environment(config, folder)
    if json_output:
        typer.echo(json.dumps({"command": command, "environment": environment}))
        return
    variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    typer.echo(f"{variables} \\\n  " + " \\\n  ".join(shlex.quote(part) for part in command))


def result_of(run: RunDir) -> dict[str, Any]:
    """Returns what a finished run reports: its folder, its last metrics and every evaluation."""
    metrics = run.read_metrics()
    checkpoint = run.latest_checkpoint()
    return {
        "run": str(run.path),
        "steps": metrics[-1]["step"] if metrics else 0,
        "checkpoint": str(checkpoint[1]) if checkpoint else None,
        "metrics": metrics[-1] if metrics else {},
        "evaluations": [{"step": e.step, "task": e.task, **e.summary} for e in run.read_summaries()],
    }
