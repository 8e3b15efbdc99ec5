"""`ngrpo grade`: grades of (completion, reference) rows of a file, and where two policies part."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ngrpo.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ngrpo.types import Grade

COMPLETIONS = ("completion", "response", "output", "generation", "model_output", "solution_str", "prediction", "text")
REFERENCES = (
    *("reference", "ground_truth", "gold", "gts", "target", "expected_answer", "reference_answer", "final_answer"),
    *("answer", "gold_answer", "reward_model.ground_truth", "solution"),
)
LABELS = ("correct", "label", "is_correct", "acc")
MOST_WARNINGS = 10
SHOWN = 60
"""Characters of an answer in the list of disagreements."""


def grade(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Rows: .jsonl, .json, .csv or .parquet.")],
    policy: Annotated[
        str,
        typer.Option("--policy", help="strict, math-verify, reference, exact, choice, reasoning-gym, MODULE:FUNCTION."),
    ] = "strict",
    compare: Annotated[
        str | None, typer.Option("--compare", metavar="POLICY", help="List every row that this policy sees otherwise.")
    ] = None,
    completion: Annotated[str | None, typer.Option("--completion", help="Column of the completions.")] = None,
    reference: Annotated[str | None, typer.Option("--reference", help="Column of the reference answers.")] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="Column of true or false labels to compare with.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write a JSON line per row here.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Grading processes.")] = 1,
    timeout: Annotated[float, typer.Option("--timeout", help="Processor seconds that one row may take.")] = 2.0,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Grade the completions of a file."""
    from ngrpo.grading.policies import checked_policy
    from ngrpo.tasks.rows import read_rows

    for name in (policy, compare):
        if name is not None:
            checked_policy(name)
    if policy == compare:
        raise ConfigError(f"--compare must be another policy than --policy, got {policy} twice")
    if not timeout > 0:
        raise ConfigError(f"--timeout must be above 0, got {timeout}")
    if out is not None and out.exists():
        raise ConfigError(f"{out} exists already: choose another --out, or remove it")
    rows = read_rows(file)
    if completion is None:
        rows = _harness_rows(rows, str(file)) or rows
    table = _Table(rows, str(file), completion, reference, label)
    _warn_of_references(table, policy)
    grades = _graded(table, policy, workers, timeout)
    others = _graded(table, compare, workers, timeout) if compare is not None else None
    if out is not None:
        _write(out, table, grades)
    summary = {"file": str(file), "policy": policy, **_counted(table, grades)}
    if compare is not None and others is not None:
        summary |= {"compared": {"policy": compare, **_counted(table, others)}}
        summary["disagreements"] = _disagreements(table, grades, others)
    if json_output:
        typer.echo(json.dumps(summary))
    else:
        _print(summary)


class _Table:
    """The columns that are graded, checked row by row."""

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], where: str, completion: str | None, reference: str | None,
        label: str | None,
    ) -> None:  # fmt: skip
        from ngrpo.tasks.columns import metadata_of

        columns = (
            _column(rows[0], where, "completion", completion, COMPLETIONS),
            _column(rows[0], where, "reference", reference, REFERENCES),
        )
        self.completions = [_text(row, columns[0], f"{where}, row {n}") for n, row in enumerate(rows, 1)]
        self.references = [_text(row, columns[1], f"{where}, row {n}") for n, row in enumerate(rows, 1)]
        self.metadata = [metadata_of(dict(row)) for row in rows]
        name = label or next((name for name in LABELS if isinstance(rows[0].get(name), bool)), None)
        self.labels = (
            None if name is None else [_label(row, name, f"{where}, row {n}") for n, row in enumerate(rows, 1)]
        )


def _harness_rows(rows: Sequence[Mapping[str, Any]], where: str) -> list[dict[str, Any]]:
    """Returns a row per response of a sample log of lm-evaluation-harness, none for any other file.

    Its lines hold the responses to a document as [[first, second, ...]], once for each filter: the lines of the first
    filter are taken. A metric with a value per response is spread as well.
    """
    if "doc_id" not in rows[0] or "resps" not in rows[0]:
        return []
    spread = []
    for number, row in enumerate(rows, start=1):
        if row.get("filter") != rows[0].get("filter"):
            continue
        requests = row.get("resps")
        responses = requests[0] if isinstance(requests, list) and len(requests) == 1 else None
        if not isinstance(responses, list) or not all(isinstance(text, str) for text in responses):
            raise DataError(
                f"{where}, row {number}: 'resps' must hold the texts that answer one request, [[TEXT, ...]]: "
                "log probabilities of choices cannot be graded"
            )
        for place, text in enumerate(responses):
            own = {
                key: value[place] if _is_per_response(key, value, row, len(responses)) else value
                for key, value in row.items()
            }
            spread.append({**own, "completion": text})
    if not spread:
        raise DataError(f"{where}: 'resps' holds no responses")
    return spread


def _is_per_response(key: str, value: object, row: Mapping[str, Any], responses: int) -> bool:
    return key in (row.get("metrics") or ()) and isinstance(value, list) and len(value) == responses


def _column(row: Mapping[str, Any], where: str, role: str, wanted: str | None, known: Sequence[str]) -> str:
    from ngrpo.tasks.columns import cell

    found = next((name for name in ([wanted] if wanted else known) if cell(dict(row), name) is not None), None)
    if found is None:
        what = f"no column '{wanted}'" if wanted else "no column that is known"
        raise DataError(f"{where}: {what} for the {role}, found: {', '.join(row)}; name it with --{role} COLUMN")
    return found


def _text(row: Mapping[str, Any], column: str, where: str) -> str:
    from ngrpo.tasks.columns import cell

    value = cell(dict(row), column)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise DataError(f"{where}: '{column}' must be text, got {'nothing' if value is None else type(value).__name__}")
    return value


def _label(row: Mapping[str, Any], column: str, where: str) -> bool:
    value = row.get(column)
    known = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
    found = known.get(str(value).strip().lower())
    if found is None:
        raise DataError(f"{where}: the label '{column}' must be true or false, got {value!r}")
    return found


def _graded(table: _Table, policy: str, workers: int, timeout: float) -> list[Grade]:
    from ngrpo.grading import GraderPool

    references = _references(table, policy)
    with GraderPool(workers, timeout, policy) as pool:
        return pool.grade_many(list(zip(table.completions, references, strict=True)), table.metadata)


def _references(table: _Table, policy: str) -> list[str]:
    """Returns the references as a task would read them: of a worked solution, the answer."""
    from ngrpo.grading.policies import MATHEMATICAL
    from ngrpo.tasks.columns import final_answer

    return [(policy in MATHEMATICAL and final_answer(text)) or text for text in table.references]


def _warn_of_references(table: _Table, policy: str) -> None:
    from ngrpo.cli.terminal import shown
    from ngrpo.grading import fault_of

    first_rows = {text: row for row, text in reversed(list(enumerate(_references(table, policy), start=1)))}
    faults = [(row, text, fault) for text, row in first_rows.items() if (fault := fault_of(text, policy))]
    for row, text, fault in sorted(faults)[:MOST_WARNINGS]:
        typer.echo(f"row {row}: no completion can reach the reference {shown(text, SHOWN)}: {fault}", err=True)
    if len(faults) > MOST_WARNINGS:
        typer.echo(f"and {len(faults) - MOST_WARNINGS} more references", err=True)


def _write(out: Path, table: _Table, grades: Sequence[Grade]) -> None:
    from ngrpo.files import append_json_lines

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

    columns = {summary["policy"]: summary}
    if "compared" in summary:
        columns[summary["compared"]["policy"]] = summary["compared"]
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
            f"{one['status']} ({shown(one['reason'], SHOWN)}), {summary['compared']['policy']} says "
            f"{one['compared_status']}"
        )
    typer.echo(f"{len(found)} of {summary['rows']} rows are seen otherwise by {summary['compared']['policy']}")
