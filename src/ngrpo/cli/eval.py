"""`ngrpo eval`: samples, grades and Pass@k of one model on one task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ngrpo.choices import SamplerName, Split
from ngrpo.errors import ConfigError

Protocol = Literal["paper"]

PROTOCOLS: Mapping[Protocol, Mapping[str, Any]] = {
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
            help="countdown, math500, aime2025, ... (docs/data.md; or NAME:FILE), gym:NAME, verifiers:NAME, "
            "hub:OWNER/NAME, file:PATH.",
            show_default="a run's own, with its [evaluation] settings",
        ),
    ] = None,
    sampler: Annotated[
        SamplerName | None,
        typer.Option("--sampler", help="What samples completions.", show_default="transformers"),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="The endpoint's address, such as http://127.0.0.1:8000/v1.")
    ] = None,
    protocol: Annotated[
        Protocol | None,
        typer.Option("--protocol", help="paper: 256 samples, temperature 0.6, top_p 0.95, 4,096 tokens."),
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", help="Completions per problem, n.", show_default="16")
    ] = None,
    problems: Annotated[
        int | None, typer.Option("--problems", help="Number of problems, from the first on; 0: all.", show_default="0")
    ] = None,
    split: Annotated[
        Split | None,
        typer.Option("--split", help="The problems: test, or train for [sampling] solve_rates.", show_default="test"),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Sampling temperature; 0 is greedy.", show_default="0.6")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option("--top-p", help="Probability mass sampled from (nucleus).", show_default="0.95")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", help="Likeliest tokens sampled from; 0: all.", show_default="0")
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option("--min-p", help="Least probability, as a share of the likeliest token's.", show_default="0"),
    ] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option("--stop", help="Text that ends a completion; may be repeated.", show_default="[sampling] stop"),
    ] = None,
    max_completion_tokens: Annotated[
        int | None, typer.Option("--max-completion-tokens", help="Maximum tokens of a completion.", show_default="4096")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the sampling.")] = 0,
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
    from ngrpo.api import evaluate_config, evaluation_config
    from ngrpo.evaluation.refusals import refusal_lines
    from ngrpo.evaluation.resume_record import SAMPLES

    decoding = {
        "problems": problems,
        "split": split,
        "samples": samples,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "stop": stop or None,
        "max_completion_tokens": max_completion_tokens,
    }
    given = {name: value for name, value in decoding.items() if value is not None}
    tables: dict[str, dict[str, Any]] = {
        "sampling": {} if sampler is None else {"sampler": sampler},
        "endpoint": {} if url is None else {"url": url},
        "run": {"seed": seed},
    }
    settings = {**(PROTOCOLS[protocol] if protocol else {}), **given}
    config, folder = evaluation_config(model, task, out, settings=settings, tables=tables, overrides=overrides or ())
    if url is not None and not config.sampling.kind.remote:
        raise ConfigError(f"--url needs --sampler endpoint: sampler '{config.sampling.sampler}' uses no server")
    if retry_ungraded and not resume:
        raise ConfigError("--retry-ungraded continues an evaluation: add --resume")
    result, summary = evaluate_config(
        config, folder, resume="retry-refused" if retry_ungraded else resume, progress=not json_output
    )
    if json_output:
        typer.echo(json.dumps({**summary, "model": model, "task": config.task.name}))
    else:
        from rich.console import Console

        from ngrpo.cli.passk import passk_table

        Console().print(passk_table({config.task.slug: result.summary}))
        typer.echo(f"samples: {folder / SAMPLES}")
    for line in refusal_lines(result.refused, result.summary.samples):
        typer.echo(f"ngrpo: {line}", err=True)
