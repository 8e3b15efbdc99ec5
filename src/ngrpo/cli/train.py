"""`ngrpo train`: one run from a config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ngrpo.errors import CheckpointError, ConfigError, MissingDependencyError, NgrpoError

if TYPE_CHECKING:
    from ngrpo.config import Config
    from ngrpo.runs.run_dir import RunDir


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A TOML config, or the config.json of a run to repeat.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Override a setting; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The run folder.", show_default="runs/NAME")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint of the run folder.")
    ] = False,
    engine: Annotated[
        str, typer.Option("--engine", help="local, or verl: Ray, FSDP and vLLM, on the machines of [cluster].")
    ] = "local",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print verl's command and its environment, and start nothing.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object when done.")] = False,
) -> None:
    """Train a model as a config says, into a run folder."""
    from ngrpo.config import load_config
    from ngrpo.runs.run_dir import RunDir

    settings = load_config(config, overrides or ())
    folder = out or Path("runs") / settings.run.name
    if _is_verl(engine, dry_run=dry_run):
        _train_with_verl(settings, folder, resume=resume, dry_run=dry_run, json_output=json_output)
        return
    check_before_loading(settings)
    run = _resumed(folder, settings) if resume else RunDir.create(folder, settings.to_json(), seed=settings.run.seed)
    run_training(settings, run, quiet=json_output)
    if json_output:
        typer.echo(json.dumps(result_of(run)))


def _is_verl(engine: str, *, dry_run: bool) -> bool:
    if engine not in ("local", "verl"):
        raise ConfigError(f"--engine must be local or verl, got '{engine}'")
    if engine == "local" and dry_run:
        raise ConfigError("--dry-run shows the command of --engine verl; --engine local has none")
    return engine == "verl"


def _train_with_verl(config: Config, folder: Path, *, resume: bool, dry_run: bool, json_output: bool) -> None:
    if dry_run:
        _show_verl_command(config, folder, resume=resume, json_output=json_output)
        return
    from ngrpo.cli.progress import Progress
    from ngrpo.engines.verl.checks import check_expressible
    from ngrpo.engines.verl.installed import check_installed
    from ngrpo.runs.observer import Observers
    from ngrpo.runs.run_dir import RunDir
    from ngrpo.runs.trackers import tracker_observers

    check_expressible(config, config.cluster)
    check_installed(config, config.cluster)
    check_before_loading(config)
    from ngrpo.engines.verl.run import run_verl  # imports torch

    if resume:
        run = RunDir.open(folder)
        check_same_run(run.read_config()["config"], config.to_json())
    else:
        run = RunDir.create(folder, config.to_json(), seed=config.run.seed)
    observer = Observers([Progress(quiet=json_output), *tracker_observers(config, run.path)])
    try:
        run_verl(config, run, observer, resume=resume)
    finally:
        observer.close()
    typer.echo(json.dumps(result_of(run)) if json_output else f"run folder: {run.path}")


def _show_verl_command(config: Config, folder: Path, *, resume: bool, json_output: bool) -> None:
    import shlex

    from ngrpo.engines.verl.overrides import verl_command, verl_environment

    command = verl_command(config, folder, resume=resume)
    environment = verl_environment(config, folder)
    if json_output:
        typer.echo(json.dumps({"command": command, "environment": environment}))
        return
    variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    typer.echo(f"{variables} \\\n  " + " \\\n  ".join(shlex.quote(part) for part in command))


def check_before_loading(config: Config) -> None:
    """Raises whatever can be known to be wrong before torch is imported or a run folder is made.

    Raises:
        ConfigError: when there is no such model, or its engine cannot train.
        DataError: when the problems cannot be read or there are none.
        MissingDependencyError: when a package that the config needs is not installed.
    """
    from importlib.util import find_spec

    from ngrpo.models.paths import resolve_model_path

    if config.model.lora is not None and find_spec("peft") is None:
        raise MissingDependencyError("peft", "peft", "[model.lora]")
    if config.sampling.engine == "vllm" and find_spec("vllm") is None:
        raise MissingDependencyError("vllm", "vllm", "[sampling] engine 'vllm'")
    for tracker in config.run.trackers:
        if find_spec(tracker) is None:
            raise MissingDependencyError(tracker, tracker, f"[run] trackers '{tracker}'")
    resolve_model_path(config.model.path)
    config.check_trainable()
    config.task.check_grader()
    if config.evaluation.every:
        for task in config.evaluation_tasks():
            task.problems("test")
            task.check_grader()


def run_training(config: Config, run: RunDir, *, quiet: bool) -> None:
    """Trains in a run folder while showing progress on the terminal (on standard error) unless `quiet`.

    Args:
        config: the run's config.
        run: its folder.
        quiet: show nothing but messages.
    """
    from ngrpo.cli.progress import Progress
    from ngrpo.runs.observer import Observers
    from ngrpo.runs.trackers import tracker_observers
    from ngrpo.training.trainer import Trainer

    progress = Progress(quiet=quiet)
    progress.loading(config.model.path)
    try:
        observer = Observers([progress, *tracker_observers(config, run.path)])
        trainer = Trainer(config, run, observer)
    except NgrpoError:
        run.remove_if_unused()  # so that the same command works once the cause is mended
        raise
    try:
        trainer.train()
    finally:
        observer.close()
    if not quiet:
        typer.echo(f"run folder: {run.path}")


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


def _resumed(folder: Path, config: Config) -> RunDir:
    from ngrpo.engines.verl.files import VerlFiles
    from ngrpo.runs.run_dir import RunDir

    run = RunDir.open(folder)
    if VerlFiles(folder).folder.is_dir():
        raise CheckpointError(f"{folder} is a run of verl, whose checkpoints only verl can resume: add --engine verl")
    check_same_run(run.read_config()["config"], config.to_json())
    checkpoint = run.latest_checkpoint()
    if checkpoint is None:
        raise CheckpointError(f"{folder} has no checkpoint to resume from: start anew with another --out")
    config.run.check_steps_left(folder, checkpoint[0])
    return run


def check_same_run(saved: dict[str, Any], current: dict[str, Any]) -> None:
    """Raises ConfigError when a resumed run's config differs from its own in more than length, saving or reporting.

    Args:
        saved: the config of the run folder.
        current: the config given with --resume.
    """
    free = {("run", key) for key in ("steps", "save_every", "trackers", "name", "keep_rollouts")}
    for table, settings in current.items():
        before = saved.get(table, {})
        for key in sorted(before.keys() | settings.keys()):
            if (table, key) not in free and before.get(key) != settings.get(key):
                raise ConfigError(
                    f"--resume: [{table}] {key} is {settings.get(key)!r}, but the run was started with "
                    f"{before.get(key)!r}; resume with its own config.json, or choose another --out"
                )
