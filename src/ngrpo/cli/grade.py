"""`ngrpo grade`: grades of (completion, reference) rows of a file, and where two graders disagree."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ngrpo.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ngrpo.types import Grade

MOST_WARNINGS = 10
SHOWN = 60
"""Characters of an answer in the list of disagreements."""


def grade(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Rows: .jsonl, .json, .csv or .parquet.")],
    grader: Annotated[
        str,
        typer.Option("--grader", help="strict, math-verify, reference, exact, choice, reasoning-gym, MODULE:FUNCTION."),
    ] = "strict",
    compare: Annotated[
        str | None,
        typer.Option("--compare", metavar="GRADER", help="Second grader: list the rows on which it disagrees."),
    ] = None,
    completion: Annotated[str | None, typer.Option("--completion", help="Column of the completions.")] = None,
    reference: Annotated[str | None, typer.Option("--reference", help="Column of the reference answers.")] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="Column of true or false labels to compare with.")
    ] = None,
    marker: Annotated[
        list[str] | None,
        typer.Option(
            "--marker", metavar="TEXT", help='Text that announces an answer, such as "My answer:"; repeatable.'
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write a JSON line per row here.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Grading processes.")] = 1,
    timeout: Annotated[float, typer.Option("--timeout", help="Processor seconds that one row may take.")] = 2.0,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Grade the completions of a file."""
    from ngrpo.cli.harness_rows import harness_rows
    from ngrpo.grading.graders import checked_grader
    from ngrpo.tasks.table_rows import read_rows

    for name in (grader, compare):
        if name is not None:
            checked_grader(name)
    _check_options(grader, compare, timeout, out)
    rows = read_rows(file)
    if completion is None:
        rows = harness_rows(rows, str(file)) or rows
    table = _Table(rows, str(file), completion, reference, label)
    _warn_of_references(table, grader)
    settings = _Settings(workers, timeout, tuple(marker or ()))
    grades = _graded(table, grader, settings)
    others = _graded(table, compare, settings) if compare is not None else None
    typer.echo("columns: " + ", ".join(f"{role} '{name}'" for role, name in table.columns.items()), err=True)
    if out is not None:
        _write(out, table, grades)
    summary = {"file": str(file), "columns": table.columns, "grader": grader, **_counted(table, grades)}
    if compare is not None and others is not None:
        summary |= {"compared": {"grader": compare, **_counted(table, others)}}
        summary["disagreements"] = _disagreements(table, grades, others)
    if json_output:
        typer.echo(json.dumps(summary))
    else:
        _print(summary)


class _Settings(NamedTuple):
    """How the rows are graded, by either grader."""

    workers: int
    timeout: float
    markers: tuple[str, ...]


def _check_options(grader: str, compare: str | None, timeout: float, out: Path | None) -> None:
    if grader == compare:
        raise ConfigError(f"--compare must differ from --grader, got {grader} twice")
    if not timeout > 0:
        raise ConfigError(f"--timeout must be above 0, got {timeout}")
    if out is not None and out.exists():
        raise ConfigError(f"{out} exists already: choose another --out, or remove it")


class _Table:
    """The columns that are graded, checked row by row."""

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], where: str, completion: str | None, reference: str | None,
        label: str | None,
    ) -> None:  # fmt: skip
        from ngrpo.tasks.cells import cell, is_numeric, reference_text
        from ngrpo.tasks.problem_columns import COMPLETIONS, LABELS, REFERENCES, metadata_of

        self.columns = {
            "completion": _column(rows, where, "completion", completion, COMPLETIONS),
            "reference": _column(rows, where, "reference", reference, REFERENCES),
        }
        name = label or _label_column(rows, LABELS)
        if name is not None:
            self.columns["label"] = name
        numbered = [(f"{where}, row {number}", dict(row)) for number, row in enumerate(rows, start=1)]
        column = self.columns["reference"]
        numeric = is_numeric([row for _, row in numbered], column)
        self.completions = [_completion(row, self.columns["completion"], place) for place, row in numbered]
        self.references = [
            reference_text(cell(row, column), f"{place}: '{column}'", numeric=numeric) for place, row in numbered
        ]
        self.metadata = [metadata_of(row) for _, row in numbered]
        self.labels = None if name is None else [_label(row, name, place) for place, row in numbered]


def _column(rows: Sequence[Mapping[str, Any]], where: str, role: str, wanted: str | None, known: Sequence[str]) -> str:
    from ngrpo.tasks.problem_columns import recognised

    found = recognised([dict(row) for row in rows], [wanted] if wanted else known)
    if not found:
        what = f"no column '{wanted}'" if wanted else "no known column"
        names = ", ".join(dict.fromkeys(key for row in rows[:100] for key in row))
        raise DataError(f"{where}: {what} for the {role}, found: {names}; name it with --{role} COLUMN")
    return found


def _label_column(rows: Sequence[Mapping[str, Any]], known: Sequence[str]) -> str | None:
    """Returns the first column that holds true or false in every row, None where there is none."""
    return next((name for name in known if all(isinstance(row.get(name), bool) for row in rows)), None)


def _completion(row: dict[str, Any], column: str, where: str) -> str:
    from ngrpo.tasks.cells import cell, text_of

    value = cell(row, column)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else text_of(value, f"{where}: '{column}'")


def _label(row: Mapping[str, Any], column: str, where: str) -> bool:
    value = row.get(column)
    known = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
    found = known.get(str(value).strip().lower())
    if found is None:
        raise DataError(f"{where}: the label '{column}' must be true or false, got {value!r}")
    return found


def _graded(table: _Table, grader: str, settings: _Settings) -> list[Grade]:
    from ngrpo.grading import GraderPool

    pairs = list(zip(table.completions, table.references, strict=True))
    with GraderPool(settings.workers, settings.timeout, grader, markers=settings.markers) as pool:
        return pool.grade_many(pairs, table.metadata)


def _warn_of_references(table: _Table, grader: str) -> None:
    from ngrpo.cli.terminal import shown
    from ngrpo.grading import GRADERS, fault_of
    from ngrpo.grading.references import NO_ANSWER

    answer_of = GRADERS[grader].answer_of if grader in GRADERS else str.strip
    first_rows = {text: row for row, text in reversed(list(enumerate(table.references, start=1)))}
    answers = [(row, text, answer_of(text)) for text, row in first_rows.items()]
    faults = [
        (row, answer or text, fault)
        for row, text, answer in answers
        if (fault := NO_ANSWER if answer is None else fault_of(answer, grader))
    ]
    for row, text, fault in sorted(faults)[:MOST_WARNINGS]:
        typer.echo(f"row {row}: no completion can reach the reference {shown(text, SHOWN)}: {fault}", err=True)
    if len(faults) > MOST_WARNINGS:
        typer.echo(f"and {len(faults) - MOST_WARNINGS} more references", err=True)


def _write(out: Path, table: _Table, grades: Sequence[Grade]) -> None:
    from ngrpo.storage import append_json_lines

    lines = [
        {
            "row": row,
            "status": grade.status,
            "reward": grade.reward,
            "answer": grade.answer,
            "reference": reference,
            "reason": grade.reason,
        }
        for row, (grade, reference) in enumerate(zip(grades, table.references, strict=True), start=1)
    ]
    try:
        append_json_lines(out, lines)
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror}") from None


def _counted(table: _Table, grades: Sequence[Grade]) -> dict[str, Any]:
    counts = Counter(grade.status for grade in grades)
    found: dict[str, Any] = {
        "rows": len(grades),
        **{status: counts[status] for status in ("correct", "wrong", "no_answer", "ungraded")},
        "mean_reward": sum(grade.reward for grade in grades) / max(1, len(grades) - counts["ungraded"]),
        "ungraded_reasons": dict(Counter(grade.reason for grade in grades if not grade.graded)),
    }
    if table.labels is not None:
        verdicts = [(grade.status == "correct", label) for grade, label in zip(grades, table.labels, strict=True)]
        found["labels"] = {
            "accepted_of_correct": [verdicts.count((True, True)), sum(table.labels)],
            "rejected_of_wrong": [verdicts.count((False, False)), len(verdicts) - sum(table.labels)],
        }
    return found


def _disagreements(table: _Table, grades: Sequence[Grade], others: Sequence[Grade]) -> list[dict[str, Any]]:
    return [
        {
            "row": row,
            "reference": reference,
            "answer": ours.answer,
            "status": ours.status,
            "reason": ours.reason,
            "compared_answer": theirs.answer,
            "compared_status": theirs.status,
            "compared_reason": theirs.reason,
        }
        for row, (reference, ours, theirs) in enumerate(zip(table.references, grades, others, strict=True), start=1)
        if (ours.status, ours.reward) != (theirs.status, theirs.reward)
    ]


def _print(summary: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = {summary["grader"]: summary}
    if "compared" in summary:
        columns[summary["compared"]["grader"]] = summary["compared"]
    table = Table("")
    for name in columns:
        table.add_column(Text(name), justify="right")
    for key in ("rows", "correct", "wrong", "no_answer", "ungraded"):
        table.add_row(key, *(str(column[key]) for column in columns.values()))
    table.add_row("mean reward", *(f"{column['mean_reward']:.4f}" for column in columns.values()))
    for key in ("accepted_of_correct", "rejected_of_wrong"):
        if "labels" in summary:
            cells = (column["labels"][key] for column in columns.values())
            table.add_row(key.replace("_", " "), *(f"{count} of {total}" for count, total in cells))
    console = Console()
    console.print(table)
    for name, column in columns.items():
        for reason, count in column["ungraded_reasons"].items():
            typer.echo(f"{name}: {count} ungraded, {reason}")
    if "compared" in summary:
        _print_disagreements(summary)


def _print_disagreements(summary: Mapping[str, Any]) -> None:
    from ngrpo.cli.terminal import shown

    found = summary["disagreements"]
    for one in found:
        typer.echo(
            f"row {one['row']}: reference {shown(one['reference'], SHOWN)}, answer {shown(one['answer'], SHOWN)}: "
            f"{one['status']} ({shown(one['reason'], SHOWN)}), {summary['compared']['grader']} says "
            f"{one['compared_status']}"
        )
    typer.echo(f"{summary['compared']['grader']} disagrees on {len(found)} of {summary['rows']} rows")
