"""`ngrpo demo`: GRPO, PSR-NSR and NGRPO from the same start on a CPU, and what happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ngrpo.errors import TrainingError

if TYPE_CHECKING:
    from rich.console import Console

    from ngrpo.diagnostics import GroupShares
    from ngrpo.runs.run_dir import RunDir

METHODS = ("grpo", "psr_nsr", "ngrpo")
CONFIG = Path(__file__).parents[1] / "models" / "assets" / "demo.toml"
CAVEAT = (
    "This is one seed of one small task: no evidence of which method scores better. Over ten seeds of a longer run "
    "NGRPO ended 0.4 points of AUC below GRPO (docs/results.md); what the runs show is what each method does with "
    "groups in which every answer is wrong, and which of them collapses."
)


def demo(
    steps: Annotated[int, typer.Option("--steps", min=1, help="Training steps of each method.")] = 60,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the problem order and the sampling.")] = 0,
    problems: Annotated[int, typer.Option("--problems", min=1, help="Held-out problems of an evaluation.")] = 256,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Runs side by side, one core each.")] = 2,
    out: Annotated[
        Path | None, typer.Option("--out", help="Keep the run folders here.", show_default="a temporary folder")
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the report in the browser.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train the shipped model with three methods on a CPU and show what happened."""
    from rich.console import Console

    from ngrpo.cli.report import open_in_browser
    from ngrpo.config import load_config

    settings = [f"run.steps={steps}", f"run.seed={seed}", f"evaluation.every={steps}"]
    settings.append(f"evaluation.problems={problems}")
    group_size = load_config(CONFIG, settings).sampling.group_size
    # With --json the story goes to standard error, so that standard output holds the object and nothing else.
    console = Console(stderr=json_output, highlight=False)
    _show_advantages(console, group_size)
    sources = _gradient_sources(settings)
    _show_sources(console, sources)
    with tempfile.TemporaryDirectory(prefix="ngrpo-demo-") as temporary:
        folder = out or Path(temporary)
        started = time.monotonic()
        results = _train_all(settings, folder, processes, console)
        seconds = time.monotonic() - started
        page = _write_report(folder, out)
    _show_results(console, results, steps, seconds)
    console.print(CAVEAT, soft_wrap=True)
    if out:
        console.print(f"run folders: {out}", markup=False, soft_wrap=True)
    console.print(f"report: {page}", markup=False, soft_wrap=True)
    if open_page:
        open_in_browser(page)
    if json_output:
        shares = {name: asdict(share) for name, share in sources.items()}
        found = {"steps": steps, "seed": seed, "gradient_shares": shares, "methods": results, "report": str(page)}
        typer.echo(json.dumps(found))


def _write_report(folder: Path, out: Path | None) -> Path:
    """Returns where the report of the runs is; without a folder of its own it stays beside the temporary one."""
    from ngrpo.report import page_of, write_page

    page = page_of([folder / name for name in METHODS])
    if out is None:
        number, name = tempfile.mkstemp(prefix="ngrpo-demo-", suffix=".html")
        os.close(number)
    path = Path(name) if out is None else out / "report.html"
    write_page(page, path)
    return path


def _show_advantages(console: Console, group_size: int) -> None:
    from ngrpo.cli.advantages import advantage_rows, advantage_tables

    console.print(f"[bold]1. Advantage of a correct / a wrong completion[/bold], c of {group_size} correct")
    for table in advantage_tables(advantage_rows(group_size, METHODS), console.width):
        console.print(table)


def _gradient_sources(settings: Sequence[str]) -> dict[str, GroupShares]:
    """Returns, by method, the kinds of group that the gradient of one and the same batch comes from."""
    from ngrpo.config import load_config
    from ngrpo.models import load_language_model
    from ngrpo.sampling import Decoding
    from ngrpo.sampling.transformers_sampler import TransformersSampler
    from ngrpo.training.collect import grade_groups
    from ngrpo.training.gradient import gradient_share_by_kind
    from ngrpo.training.prompt_source import PromptSource
    from ngrpo.training.update import PolicyUpdater

    config = load_config(CONFIG, settings)
    policy = load_language_model(config.model, for_training=True)
    sampling, seed = config.sampling, config.run.seed
    source = PromptSource(config.task, policy.tokenizer, seed=seed, max_prompt_tokens=sampling.max_prompt_tokens)
    prompts = source.take(len(source), set())
    sampled = TransformersSampler(policy).sample(
        prompts,
        range(sampling.group_size),
        Decoding(max_completion_tokens=sampling.max_completion_tokens),
        seed=seed,
        round_name="demo",
    )
    groups = grade_groups(config.task, prompts, sampled)
    return {
        name: gradient_share_by_kind(
            PolicyUpdater(
                policy,
                None,
                load_config(CONFIG, [*settings, f"method.name={name}"]).method,
                config.optimizer,
                temperature=sampling.temperature,
                max_completion_tokens=sampling.max_completion_tokens,
            ),
            groups,
        )
        for name in METHODS
    }


def _show_sources(console: Console, sources: Mapping[str, GroupShares]) -> None:
    from rich.table import Table

    console.print(
        "\n[bold]2. Where the gradient of one batch comes from[/bold] (share of the summed norms, 256 groups)"
    )
    table = Table("groups", *sources)
    for kind in ("all_wrong", "mixed", "all_correct"):
        shares = (getattr(share, kind) for share in sources.values())
        table.add_row(kind.replace("_", "-"), *(f"{100 * share:.1f} %" for share in shares))
    console.print(table)


def _train_all(settings: Sequence[str], folder: Path, processes: int, console: Console) -> dict[str, dict[str, Any]]:
    """Returns, by method, what happened in its run; the runs are ordinary `ngrpo train` processes."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from ngrpo.config import load_config

    console.print(f"\n[bold]3. Training[/bold] with each method, {processes} runs side by side")
    steps = load_config(CONFIG, settings).run.steps
    columns = (TextColumn("{task.description:>8}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(max_workers=max(1, processes)) as pool:
        bars = {name: progress.add_task(name, total=steps, start=False) for name in METHODS}
        futures = {name: pool.submit(_train_one, name, settings, folder / name) for name in METHODS}
        while not all(future.done() for future in futures.values()):
            for name, bar in bars.items():
                done = _steps_done(folder / name)
                if done and not progress.tasks[bar].started:
                    progress.start_task(bar)
                progress.update(bar, completed=done)
            time.sleep(0.5)
        for name, bar in bars.items():
            progress.update(bar, completed=_steps_done(folder / name))
    return {name: future.result() for name, future in futures.items()}


def _steps_done(folder: Path) -> int:
    metrics = folder / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def _train_one(name: str, settings: Sequence[str], folder: Path) -> dict[str, Any]:
    """Returns what happened in one run of a method, in a process and on a core of its own.

    Raises:
        TrainingError: when the run failed for another reason than diverging.
    """
    from ngrpo.runs.run_dir import RunDir

    overrides = [argument for setting in [*settings, f"method.name={name}"] for argument in ("--set", setting)]
    command = [sys.executable, "-m", "ngrpo", "train", str(CONFIG), *overrides, "--out", str(folder), "--json"]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    process = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=False)
    if process.returncode == 130:
        raise KeyboardInterrupt
    message = (process.stderr.strip().splitlines() or [f"exit status {process.returncode}"])[-1]
    if process.returncode != 0 and not _steps_done(folder):
        raise TrainingError(f"the run of {name} failed: {message}")
    return {"stopped": message if process.returncode else None, **what_happened(RunDir.open(folder))}


def what_happened(run: RunDir) -> dict[str, Any]:
    """Returns a run's first and last evaluation, and over its steps the share of rollouts that carried gradient.

    `all_wrong` is the chance that 8 completions of a held-out problem are all wrong, 1 - Pass@8.
    """
    metrics = run.read_metrics()
    evaluations = [
        {
            "pass@1": e.summary["pass_at_k"]["1"],
            "pass@64": e.summary["pass_at_k"]["64"],
            "auc": e.summary["auc"],
            "all_wrong": 1.0 - e.summary["pass_at_k"]["8"],
            "entropy": e.summary["entropy"],
        }
        for e in run.read_summaries()
    ]
    return {
        "steps": len(metrics),
        "rollouts": metrics[-1]["total/rollouts_sampled"],
        "carried_gradient": sum(line["advantage/nonzero"] for line in metrics) / len(metrics),
        "clipped": sum(line["clip/low_fraction"] + line["clip/high_fraction"] for line in metrics) / len(metrics),
        "before": evaluations[0],
        "after": evaluations[-1] if len(evaluations) > 1 else None,
    }


def _show_results(console: Console, results: Mapping[str, dict[str, Any]], steps: int, seconds: float) -> None:
    from rich.table import Table

    console.print(f"\n[bold]4. Before and after {steps} steps[/bold], held-out problems ({seconds:.0f} seconds)")
    before = next(iter(results.values()))["before"]
    after = {name: result["after"] for name, result in results.items()}
    table = Table("", "base", *results)
    # Pass@64 and AUC turn round between seeds and processors: they are in the report and in --json.
    rows = {"Pass@1": "pass@1", "all-wrong groups of 8": "all_wrong"}
    for title, key in rows.items():
        table.add_row(title, _percent(before[key]), *(_percent(a[key]) if a else "—" for a in after.values()))
    table.add_row("entropy, nats per token", f"{before['entropy']:.3f}", *_entropies(after.values()))
    table.add_section()
    table.add_row("rollouts that carried gradient", "", *(_percent(r["carried_gradient"]) for r in results.values()))
    table.add_row("tokens clipped", "", *(_percent(r["clipped"]) for r in results.values()))
    table.add_row("rollouts sampled", "", *(f"{r['rollouts']:,}" for r in results.values()))
    console.print(table)
    for name, result in results.items():
        if result["stopped"]:
            console.print(f"{name} stopped after step {result['steps']}: {result['stopped']}", markup=False)


def _entropies(after: Iterable[dict[str, Any] | None]) -> list[str]:
    return ["—" if evaluation is None else f"{evaluation['entropy']:.3f}" for evaluation in after]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
