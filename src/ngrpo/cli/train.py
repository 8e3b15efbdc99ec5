"""`ngrpo train`: one run from a config."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ngrpo.choices import Engine
from ngrpo.cli.train_previews import show_dry_run, show_fit
from ngrpo.errors import ConfigError
from ngrpo.training.ranks import place_of

if TYPE_CHECKING:
    from ngrpo.runs.run_dir import RunDir

ResumeChoice = Literal["newest", "auto"]
"""Values of --resume, "newest" where none is given; see `with_values`."""


FitChoice = Literal["show", "take"]
"""Values of --fit, "show" where none is given."""
_LEFT_OUT = {"--resume": "--resume=newest", "--fit": "--fit=show"}
_GIVEN = {("--resume=newest", "auto"): "--resume=auto", ("--fit=show", "take"): "--fit=take"}


def with_values(arguments: Sequence[str]) -> list[str]:
    """Returns a command line of `train` in which --resume and --fit have values; the parser knows no optional ones.

    >>> with_values(["a.toml", "--resume", "--json"]), with_values(["a.toml", "--resume", "auto", "--fit", "take"])
    (['a.toml', '--resume=newest', '--json'], ['a.toml', '--resume=auto', '--fit=take'])
    """
    joined: list[str] = []
    for argument in arguments:
        if joined and (joined[-1], argument) in _GIVEN:
            joined[-1] = _GIVEN[joined[-1], argument]
        else:
            joined.append(_LEFT_OUT.get(argument, argument))
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
        bool,
        typer.Option(
            "--dry-run",
            help="Take one step, write nothing, and print model size, memory, and time per step and in all; with "
            "--engine verl print its command and environment, and start nothing.",
        ),
    ] = False,
    fit: Annotated[
        FitChoice | None,
        typer.Option(
            "--fit",
            metavar="[take]",
            show_default=False,
            help="Print the largest tokens_per_micro_batch and max_sequences that fit into memory at the longest "
            "lengths; with 'take' train with them.",
        ),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object when done.")] = False,
) -> None:
    """Train a model from a config file into a run folder."""
    from ngrpo.api import train as train_run

    resumed: bool | Literal["auto"] = "auto" if resume == "auto" else resume is not None
    if dry_run:
        if engine == "local":
            show_dry_run(config, overrides or (), json_output=json_output)
            return
        _show_verl_command(config, overrides or (), out, resume=bool(resumed), json_output=json_output)
        return
    given = list(overrides or ())
    if fit is not None:
        if engine != "local":
            raise ConfigError(f"--fit tries the local engine's memory, not that of --engine {engine}")
        given += show_fit(config, given, json_output=json_output and fit == "show", quiet=json_output)
        if fit == "show":
            return
    run = train_run(
        config,
        out,
        overrides=given,
        resume=resumed,
        overwrite=overwrite,
        engine=engine,
        progress=not json_output,
    )
    if place_of().rank > 0:
        return
    if json_output:
        typer.echo(json.dumps(result_of(run)))
        return
    typer.echo(f"run folder: {run.path}")
    typer.echo(f"look at it: {report_command(run.path)}")


def report_command(folder: Path) -> str:
    """Returns the command that makes the report of a run.

    >>> report_command(Path("runs/my run"))
    "ngrpo report 'runs/my run'"
    """
    import shlex

    return f"ngrpo report {shlex.quote(str(folder))}"


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
