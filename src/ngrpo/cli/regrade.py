"""`ngrpo regrade`: stored completions graded once more, and what that changes in Pass@k."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ngrpo.choices import Split
from ngrpo.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ngrpo.evaluation.regrading import Regraded
    from ngrpo.evaluation.statistics.summary import Summary
    from ngrpo.tasks import Task

SHOWN = 60


class Stored(NamedTuple):
    """A file of graded completions: its name in the output, the table of its task, and the split of its problems."""

    name: str
    path: Path
    task: dict[str, Any]
    split: Split
    has_pass_at_k: bool


def regrade(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="A run folder, a folder that `ngrpo eval` wrote, or a samples file."),
    ],
    grader: Annotated[
        str | None,
        typer.Option("--grader", help="strict, math-verify, reference, exact, choice, reasoning-gym, MODULE:FUNCTION."),
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="Task of a samples file outside a run.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the regraded files into this new folder.")] = None,
    list_changes: Annotated[bool, typer.Option("--list", help="List every completion whose status changes.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object, shares 0 to 1.")] = False,
) -> None:
    """Grade stored completions again, without a model, and show what changes."""
    from ngrpo.tasks import load_task

    stored = _stored(run, task)
    tasks = [load_task(_with_grader(one.task, grader), where=f"{one.name}: ") for one in stored]
    for loaded in tasks:
        loaded.check_grader()
    results = {}
    with _folder(out) as folder:
        for one, loaded in zip(stored, tasks, strict=True):
            results[one.name] = _regraded(one, loaded, folder / one.name, quiet=json_output, listed=list_changes)
    if json_output:
        typer.echo(json.dumps({"run": str(run), "grader": grader, "files": results}))
    elif out is not None:
        typer.echo(f"regraded files: {out}")


def _stored(run: Path, spec: str | None) -> list[Stored]:
    """Returns what there is to grade, the evaluations of a run in their order and its rollouts last."""
    if run.is_file():
        if spec is None:
            raise ConfigError(f"{run} is a file: name its task with --task")
        return [Stored("samples.jsonl", run, {"name": spec}, "test", True)]
    if not run.is_dir():
        raise DataError(f"{run}: no such file or folder")
    samples = run / "samples.jsonl"
    if samples.is_file():
        table = {"name": spec} if spec else _task_of_evaluation(run)
        return [Stored("samples.jsonl", samples, table, _split_of_evaluation(run), True)]
    return _stored_of_run(run)


def _task_of_evaluation(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "summary.json").read_text("utf-8"))["task_settings"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"{folder} has no summary.json that names its task: give it with --task") from None


def _split_of_evaluation(folder: Path) -> Split:
    try:
        split = json.loads((folder / "summary.json").read_text("utf-8"))["settings"]["split"]
    except (OSError, ValueError, KeyError, TypeError):
        return "test"
    return "train" if split == "train" else "test"


def _stored_of_run(path: Path) -> list[Stored]:
    from ngrpo.config import config_of
    from ngrpo.runs.run_dir import RunDir

    run = RunDir.open(path)
    tables = run.read_config()["config"]
    config = config_of(tables, where=f"{run.config_path}: ")
    slugs = {task.slug: task.model_dump(mode="json") for task in config.evaluation_tasks()}
    stored = []
    for summary in run.read_summaries():
        name = f"eval/{summary.step:06d}/{summary.task}/samples.jsonl"
        if summary.task in slugs and (path / name).is_file():
            stored.append(Stored(name, path / name, slugs[summary.task], config.evaluation.split, True))
    if run.rollouts_path.is_file():
        stored.append(Stored("rollouts.jsonl", run.rollouts_path, tables["task"], "train", False))
    if not stored:
        raise DataError(f"{path} holds neither evaluations nor rollouts")
    return stored


def _with_grader(table: Mapping[str, Any], grader: str | None) -> dict[str, Any]:
    if grader is None:
        return dict(table)
    if str(table.get("name")).partition(":")[0] == "countdown":
        raise ConfigError("--grader is for mathematical tasks; countdown has a grader of its own")
    return {**table, "grader": grader}


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    if out is None:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
        return
    try:
        out.mkdir(parents=True, exist_ok=False)
    except OSError as error:
        raise ConfigError(f"--out must be a folder that does not exist yet, got {out} ({error.strerror})") from None
    yield out


def _regraded(stored: Stored, task: Task, out: Path, *, quiet: bool, listed: bool) -> dict[str, Any]:
    from dataclasses import asdict

    from ngrpo.evaluation.regrading import regrade_file

    out.parent.mkdir(parents=True, exist_ok=True)
    result = regrade_file(stored.path, task, stored.split, out)
    found: dict[str, Any] = {**result.to_json()}
    summaries = _summaries(stored.path, out) if stored.has_pass_at_k else {}
    if summaries:
        found["pass_at_k"] = {name: summary.to_json() for name, summary in summaries.items()}
    if listed:
        found["changes"] = [asdict(change) for change in result.changes]
    if not quiet:
        _print(stored.name, result, summaries, listed=listed)
    return found


def _summaries(before: Path, after: Path) -> dict[str, Summary]:
    from ngrpo.evaluation.samples.counts import read_counts
    from ngrpo.evaluation.statistics.summary import summarize

    counts = {"before": read_counts(before), "now": read_counts(after)}
    return {name: summarize(count) for name, count in counts.items() if count.n.any()}


def _print(name: str, result: Regraded, summaries: Mapping[str, Summary], *, listed: bool) -> None:
    from rich.console import Console

    from ngrpo.cli.passk import passk_table
    from ngrpo.cli.terminal import shown

    statuses = [s for s in ("correct", "wrong", "no_answer", "ungraded") if result.before[s] or result.after[s]]
    counts = ", ".join(f"{s} {result.before[s]} -> {result.after[s]}" for s in statuses)
    typer.echo(f"{name}: {len(result.changes)} of {sum(result.after.values())} completions change: {counts}")
    if listed:
        for change in result.changes:
            typer.echo(
                f"  problem {shown(change.problem_id, SHOWN)}, sample {change.sample}: reference "
                f"{shown(change.reference, SHOWN)}, answer {shown(change.answer, SHOWN)}: {change.before} -> "
                f"{change.after} ({shown(change.reason, SHOWN)})"
            )
    if summaries:
        Console().print(passk_table(summaries))
