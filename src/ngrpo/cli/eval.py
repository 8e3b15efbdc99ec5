"""`ngrpo eval`: samples, grades and Pass@k of one model on one task."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ngrpo.errors import ConfigError, GradingError, short_line

if TYPE_CHECKING:
    from ngrpo.config import Config
    from ngrpo.evaluation.evaluate import Evaluation, EvaluationPlan

Resume = bool | Literal["retry-refused"]

PROTOCOLS: Mapping[str, Mapping[str, Any]] = {
    "paper": {"samples": 256, "temperature": 0.6, "top_p": 0.95, "max_completion_tokens": 4096},
}
"""Published settings of an evaluation; `paper` is that of NGRPO, Pass@k up to 256."""


def eval_(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="builtin:countdown-base, a model, checkpoint or run folder, or a hub id; with an endpoint, the name "
            "that the server knows it by.",
        ),
    ],
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            help="countdown, math, math500, amc23, aime2025 (or NAME:FILE), gym:NAME, file:PATH.",
            show_default="a run's own, with its [evaluation] settings",
        ),
    ] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", help="transformers, vllm or endpoint.", show_default="transformers")
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="The endpoint's address, such as http://127.0.0.1:8000/v1.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="paper: 256 samples, temperature 0.6, top_p 0.95, 4,096 tokens.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", help="Completions per problem, n.", show_default="16")
    ] = None,
    problems: Annotated[
        int | None, typer.Option("--problems", help="Only the first so many problems; 0: all.", show_default="0")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="0 takes the likeliest token.", show_default="0.6")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option("--top-p", help="Share of the probability drawn from.", show_default="0.95")
    ] = None,
    max_completion_tokens: Annotated[
        int | None, typer.Option("--max-completion-tokens", help="Completions are cut here.", show_default="4096")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Decides every random draw.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of samples and summary.", show_default="evals/MODEL/TASK")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an unfinished evaluation.")] = False,
    retry_ungraded: Annotated[
        bool,
        typer.Option("--retry-ungraded", help="With --resume: ask again for completions that the server refused."),
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TABLE.KEY=VALUE", help="A setting of [task], [model], [sampling], [vllm] ..."),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object, shares 0 to 1.")] = False,
) -> None:
    """Sample a model on a task, grade, and print Pass@k and its AUC."""
    from ngrpo.cli.run_settings import run_tables
    from ngrpo.config import apply_overrides, config_of

    decoding = {
        "problems": problems,
        "samples": samples,
        "temperature": temperature,
        "top_p": top_p,
        "max_completion_tokens": max_completion_tokens,
    }
    given = {name: value for name, value in decoding.items() if value is not None}
    defaults = run_tables(model) if task is None else {"task": {"name": task}}
    tables: dict[str, Any] = {
        "model": {"path": _checkpoint_of(model) if engine != "endpoint" else model},
        "task": dict(defaults["task"]),
        "sampling": {**defaults.get("sampling", {}), **({} if engine is None else {"engine": engine})},
        "endpoint": {} if url is None else {"url": url},
        "evaluation": {**defaults.get("evaluation", {}), **_protocol(protocol), **given},
        "run": {"seed": seed},
    }
    apply_overrides(tables, overrides or ())
    config = config_of(tables)
    if url is not None and config.sampling.engine != "endpoint":
        raise ConfigError(f"--url needs --engine endpoint: engine '{config.sampling.engine}' uses no server")
    if retry_ungraded and not resume:
        raise ConfigError("--retry-ungraded continues an evaluation: add --resume")
    folder = out or Path("evals") / _file_name(model) / config.task.slug
    resumed: Resume = "retry-refused" if retry_ungraded else resume
    summary = {**_evaluate(config, folder, resume=resumed, quiet=json_output), "model": model, "task": config.task.name}
    if json_output:
        typer.echo(json.dumps(summary))


def _evaluate(config: Config, folder: Path, *, resume: Resume, quiet: bool) -> dict[str, Any]:
    """Returns the content of summary.json, which is written beside the samples."""
    from ngrpo.evaluation.evaluate import EvaluationPlan, evaluation_of
    from ngrpo.evaluation.record import SAMPLES, check_record, write_record
    from ngrpo.evaluation.refusals import refusal_lines
    from ngrpo.storage import write_json

    # All that can be known to be wrong is found before torch is imported.
    plan = EvaluationPlan.of(config)
    record = _record(config, plan)
    config.task.check_grader()
    check_record(folder, record, resume=bool(resume))
    result = evaluation_of(folder / SAMPLES) if (folder / SAMPLES).exists() else None
    if result is None or (resume == "retry-refused" and result.refused):
        result = _draw(config, plan, folder, lambda: write_record(folder, record), resume=resume, quiet=quiet)
    summary = {**result.to_json(), **record}
    write_json(folder / "summary.json", summary)
    if not result.summary.pass_at_k:
        raise GradingError(f"none of the {result.summary.samples} completions could be graded; they are in {folder}")
    if not quiet:
        from rich.console import Console

        from ngrpo.cli.passk import passk_table

        Console().print(passk_table({config.task.slug: result.summary}))
        typer.echo(f"samples: {folder / SAMPLES}")
    for line in refusal_lines(result.refused, result.summary.samples):
        typer.echo(f"ngrpo: {line}", err=True)
    return summary


def _draw(
    config: Config, plan: EvaluationPlan, folder: Path, begin: Callable[[], None], *, resume: Resume, quiet: bool
) -> Evaluation:
    from ngrpo.cli.progress import EvaluationProgress
    from ngrpo.cli.termination import exits_when_terminated
    from ngrpo.evaluation.evaluate import evaluate
    from ngrpo.evaluation.journal import journal_path
    from ngrpo.evaluation.record import SAMPLES
    from ngrpo.sampling.samplers import evaluation_engine

    with EvaluationProgress(config.task.slug, quiet=quiet) as progress:
        sampler, tokenizer = evaluation_engine(config, progress.message)
        _make_folder(folder)
        begin()
        try:
            with exits_when_terminated():
                return evaluate(
                    sampler, tokenizer, config.task, plan, folder / SAMPLES, resume=resume, on_progress=progress.update
                )
        except BaseException:
            journal = journal_path(folder / SAMPLES)
            if journal.exists() and journal.stat().st_size:
                progress.message(f"partial results are kept in {folder}; continue with --resume")
            raise


def _record(config: Config, plan: EvaluationPlan) -> dict[str, Any]:
    """Returns what decides the samples, as plain JSON values; see `ngrpo.evaluation.record`."""
    from dataclasses import asdict

    from ngrpo.evaluation.evaluate import problems_of
    from ngrpo.evaluation.record import model_digest, problems_digest
    from ngrpo.models.paths import resolve_model_path

    engine: dict[str, Any] = {"name": config.sampling.engine}
    digest = ""
    if engine["name"] == "endpoint":  # wherever the server stands: it may come back at another address
        engine |= {"api": config.endpoint.api, "body": dict(config.endpoint.body)}
    else:
        engine |= {"dtype": config.model.dtype, "device": config.model.device}
        digest = model_digest(resolve_model_path(config.model.path))
        if config.sampling.keep_special_tokens:
            engine["keep_special_tokens"] = list(config.sampling.keep_special_tokens)
    if engine["name"] == "transformers":
        engine["max_sequences"] = config.sampling.max_sequences  # the last bits of a logit depend on its batch
    return {
        "model": config.model.path,
        "model_digest": digest,
        "engine": engine,
        "task": config.task.name,
        "task_settings": config.task.model_dump(mode="json"),
        "problems_digest": problems_digest(problems_of(config.task, plan)),
        "settings": asdict(plan),
    }


def _protocol(name: str | None) -> Mapping[str, Any]:
    if name is not None and name not in PROTOCOLS:
        raise ConfigError(f"unknown --protocol '{name}'; allowed: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name] if name else {}


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {folder}: {error.strerror}") from None


def _checkpoint_of(model: str) -> str:
    """Returns the newest checkpoint where the path is a run folder, else the path."""
    from ngrpo.runs.run_dir import RunDir

    run = RunDir(Path(model))
    try:
        is_run = run.checkpoints_path.is_dir()
    except OSError as error:  # a name too long for any file
        raise ConfigError(f"model '{short_line(model, 60)}' cannot be looked up: {error.strerror}") from None
    if not is_run:
        return model
    newest = run.latest_checkpoint()
    if newest is None:
        raise ConfigError(f"run folder '{model}' has no checkpoint yet")
    return str(newest[1])


def _file_name(model: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", model).strip("._")
    return name[-100:] or "model"
