"""`ngrpo eval`: samples, grades and Pass@k of one model on one task."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ngrpo.errors import ConfigError, DataError, GradingError

if TYPE_CHECKING:
    from ngrpo.config import Config


def eval_(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="builtin:countdown-base, a model, checkpoint or run folder, or a hub id."),
    ],
    task: Annotated[
        str, typer.Option("--task", help="countdown, math, math500, amc23, aime2025 (or NAME:FILE), file:PATH.")
    ],
    samples: Annotated[int, typer.Option("--samples", help="Completions per problem, n.")] = 16,
    problems: Annotated[int, typer.Option("--problems", help="Only the first so many problems; 0: all.")] = 0,
    temperature: Annotated[float, typer.Option("--temperature", help="0 takes the likeliest token.")] = 0.6,
    top_p: Annotated[float, typer.Option("--top-p", help="Share of the probability drawn from.")] = 0.95,
    max_completion_tokens: Annotated[
        int, typer.Option("--max-completion-tokens", help="Completions are cut here.")
    ] = 4096,
    seed: Annotated[int, typer.Option("--seed", help="Decides every random draw.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of samples and summary.", show_default="evals/MODEL/TASK")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TABLE.KEY=VALUE", help="A setting of [task], [model] or [sampling]."),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object, shares 0 to 1.")] = False,
) -> None:
    """Sample a model on a task, grade, and print Pass@k and its AUC."""
    from ngrpo.assets import resolve_model_path
    from ngrpo.config import apply_overrides, config_of

    tables: dict[str, Any] = {
        "model": {"path": _checkpoint_of(model)},
        "task": {"name": task},
        "evaluation": {
            "samples": samples,
            "problems": problems,
            "temperature": temperature,
            "top_p": top_p,
            "max_completion_tokens": max_completion_tokens,
        },
        "run": {"seed": seed},
    }
    apply_overrides(tables, overrides or ())
    config = config_of(tables)
    resolve_model_path(config.model.path)
    folder = out or Path("evals") / _file_name(model) / config.task.slug
    if (folder / "samples.jsonl").exists():
        raise ConfigError(f"{folder} already holds samples: choose another --out, or remove it")
    summary = {**_evaluate(config, folder, quiet=json_output), "model": model, "task": task}
    if json_output:
        typer.echo(json.dumps(summary))


def _evaluate(config: Config, folder: Path, *, quiet: bool) -> dict[str, Any]:
    """Returns what summary.json says, which is written beside the samples."""
    from dataclasses import asdict

    # The problems are read before torch is imported: a missing file is reported in a moment.
    if not len(config.task.problems("test")):
        raise DataError(f"task '{config.task.name}' has no test problems")
    config.task.check_grader()
    from ngrpo.cli.progress import EvaluationProgress
    from ngrpo.evaluation.evaluate import EvaluationPlan, evaluate
    from ngrpo.files import write_json
    from ngrpo.models import load_language_model
    from ngrpo.sampling import Decoding
    from ngrpo.sampling.transformers import TransformersSampler

    settings = config.evaluation
    plan = EvaluationPlan(
        samples=settings.samples,
        decoding=Decoding(settings.temperature, settings.top_p, settings.max_completion_tokens),
        seed=config.run.seed,
        problems=settings.problems,
    )
    language_model = load_language_model(config.model, for_training=False)
    sampler = TransformersSampler(language_model, max_sequences=config.sampling.max_sequences)
    _make_folder(folder)
    with EvaluationProgress(config.task.slug, quiet=quiet) as progress:
        result = evaluate(
            sampler,
            language_model.tokenizer,
            config.task,
            plan,
            folder / "samples.jsonl",
            on_progress=progress.update,
        )
    task = config.task
    about = {"model": config.model.path, "task": task.name, "task_settings": task.model_dump(mode="json")}
    summary = {**result.to_json(), **about, "settings": asdict(plan)}
    write_json(folder / "summary.json", summary)
    if not result.summary.pass_at_k:
        raise GradingError(f"none of the {result.summary.samples} completions could be graded; they are in {folder}")
    if not quiet:
        from rich.console import Console

        from ngrpo.cli.passk import passk_table

        Console().print(passk_table({config.task.slug: result.summary}))
        typer.echo(f"samples: {folder / 'samples.jsonl'}")
    return summary


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {folder}: {error.strerror}") from None


def _checkpoint_of(model: str) -> str:
    """Returns the newest checkpoint where the path is a run folder, else the path."""
    from ngrpo.reports.run_dir import RunDir

    run = RunDir(Path(model))
    if not run.checkpoints_path.is_dir():
        return model
    newest = run.latest_checkpoint()
    if newest is None:
        raise ConfigError(f"run folder '{model}' has no checkpoint yet")
    return str(newest[1])


def _file_name(model: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", model).strip("._")
    return name[-100:] or "model"
