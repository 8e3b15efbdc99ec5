r"""From rows to problems: which columns hold what, in the schemas that are in use.

Understood without any setting: plain columns (`problem` and `answer`, `question` and `reference`, ...),
MATH's worked solutions (the answer is in the last box), GSM8K's (after `####`), and verl's rows (`prompt` is
a list of chat messages, `reward_model.ground_truth` a string or a table). A dot in a column's name reaches
into a nested table. `ngrpo grade` recognises columns by the same lists.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ngrpo.errors import DataError
from ngrpo.tasks.cells import NoAnswerError, cell, is_empty, is_numeric, reference_text, table_in, text_of
from ngrpo.tasks.conversations import ANY_SYSTEM, Conversations
from ngrpo.tasks.table_rows import TableRow
from ngrpo.types import Problem

QUESTIONS = ("question", "problem", "prompt", "query", "instruction", "input")
COMPLETIONS = ("completion", "response", "output", "generation", "model_output", "solution_str", "prediction", "text")
REFERENCES = (
    *("reference", "reference_answer", "ground_truth", "gold", "gold_answer", "gts", "expected_answer", "target"),
    *("reward_model.ground_truth", "final_answer", "answer", "solution"),
)
IDS = ("id", "problem_id", "question_id", "unique_id", "uid", "index", "extra_info.index")
ROW_NUMBER = "#"
"""In place of a column's name: the ids are the numbers of the rows, from 0."""
LABELS = ("correct", "label", "is_correct", "acc")
METADATA = (
    *("level", "type", "subject", "difficulty", "data_source", "source", "topic", "problem_type", "question_type"),
    *("subfield", "solve_rate", "pass_rate", "llama8b_solve_rate"),
)
"""Columns that are kept with the problem, for filters and reports."""
TABLES = ("metadata", "extra_info")
"""Columns of tables that are kept too: the keys of the first as they are, the second under its name."""
UNANSWERED_SHARE = 0.01
"""Up to this share of rows without an answer is left out and logged: MATH itself has one in 7,500."""
MOST_NAMED = 5
"""So many rows with an unreachable reference are named, the others counted."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of columns; empty: recognised by the lists of this module."""

    question: str = ""
    reference: str = ""
    id: str = ""


RECOGNISED = Columns()
"""No column is named."""


@dataclass(frozen=True, slots=True)
class References:
    """How references are read and checked.

    `answer_of` gives the answer inside the text of the reference column, or None where that text has none; `fault_of`
    says why no completion could be correct for an answer, or None. With `leave_out` such rows are listed and left out;
    otherwise `advice` says which setting would read them.
    """

    answer_of: Callable[[str], str | None]
    fault_of: Callable[[str], str | None]
    leave_out: bool = False
    advice: str = ""


def problems_of(
    rows: Sequence[TableRow],
    where: str,
    columns: Columns,
    references: References,
    conversations: Conversations = ANY_SYSTEM,
) -> list[Problem]:
    """Returns the problem of each row, in order.

    A question that is a chat of one user message is that message; a longer chat becomes the problem's `messages`. Ids
    must be unique: of the recognised columns the first one is taken whose ids are; rows are numbered from 0 where there
    is no such column, or where it is named `#`. A row without an answer is an error; in a large file a few of them
    (`UNANSWERED_SHARE`) are left out and logged instead.

    Args:
        rows: at least one.
        where: the file or dataset, for messages.
        columns: names given by the user.
        references: how the reference column is read and checked.
        conversations: what questions that are a chat must agree with.

    Raises:
        DataError: for a missing or empty cell or a reference that no completion could reach, naming the row; for
            unknown columns, naming those found.
    """
    chosen = _chosen_columns(rows, where, columns)
    numeric = is_numeric(rows, chosen.reference)
    ids = _ids(rows, where, columns.id, chosen.id)
    problems: list[Problem] = []
    unanswered: list[NoAnswerError] = []
    unreadable = 0
    for number, (name, row) in enumerate(zip(ids, rows, strict=True), start=1):
        place = f"{where}, row {number}"
        column = f"{place}: '{chosen.reference}'"
        asked = f"{place}: '{chosen.question}'"
        question, messages = conversations.question_of(cell(row, chosen.question), asked)
        try:
            text = reference_text(cell(row, chosen.reference), column, numeric=numeric)
            reference = references.answer_of(text)
            if not reference:
                raise NoAnswerError(f"{column} has no answer in a \\boxed, after ####, or alone")
        except NoAnswerError as error:
            unanswered.append(error)
            continue
        if fault := references.fault_of(reference):
            unreadable += 1
            message = f"{column}: no completion can reach the reference {reference[:80]!r}: {fault}"
            _refuse(message, references, quiet=unreadable > MOST_NAMED)
            continue
        problems.append(Problem(name, question, reference, messages, metadata_of(row)))
    if len(unanswered) > UNANSWERED_SHARE * len(rows):
        raise unanswered[0]
    if unreadable > MOST_NAMED:
        _log.warning(
            "left out: %d of %d rows in all have a reference that no completion can reach", unreadable, len(rows)
        )
    if unanswered:
        _log.warning("%d of %d rows are left out; the first: %s", len(unanswered), len(rows), unanswered[0])
    return problems


def _refuse(message: str, references: References, *, quiet: bool) -> None:
    if not references.leave_out:
        raise DataError(f"{message} ({references.advice}unreadable_references = 'leave_out' leaves such rows out)")
    if not quiet:
        _log.warning("left out: %s", message)


def metadata_of(row: TableRow) -> dict[str, Any]:
    """Returns what a task, a custom grader or a report may ask about a problem beside its question and reference.

    >>> metadata_of({"question": "?", "level": 3, "metadata": {"source_dataset": "chess"}})
    {'source_dataset': 'chess', 'level': 3}
    """
    kept = {key: row[key] for key in METADATA if isinstance(row.get(key), str | int | float)}
    tables = {key: table for key in TABLES if isinstance(table := table_in(row.get(key)), dict)}
    return {**tables.pop("metadata", {}), **tables, **kept}


def recognised(rows: Sequence[TableRow], candidates: Sequence[str]) -> str:
    """Returns the first candidate that is a column with any value, an empty text where none is.

    >>> recognised([{"answer": ""}, {"answer": "7", "solution": "so 7"}], REFERENCES)
    'answer'
    """
    found = {key for row in rows for key in row}
    present = [name for name in candidates if name in found or name.partition(".")[0] in found]
    return next((name for name in present if any(not is_empty(cell(row, name)) for row in rows)), "")


def _chosen_columns(rows: Sequence[TableRow], where: str, wanted: Columns) -> Columns:
    return Columns(
        question=_chosen(rows, where, "question", wanted.question, QUESTIONS),
        reference=_chosen(rows, where, "reference", wanted.reference, REFERENCES),
        id=wanted.id or recognised(rows, IDS),
    )


def _chosen(rows: Sequence[TableRow], where: str, role: str, wanted: str, candidates: Sequence[str]) -> str:
    name = recognised(rows, (wanted,) if wanted else candidates)
    if name:
        return name
    found = ", ".join(map(str, dict.fromkeys(key for row in rows[:100] for key in row))) or "none"
    if wanted:
        raise DataError(f"{where}: no column '{wanted}' for the {role}, found: {found}")
    raise DataError(
        f"{where}: no column for the {role}, found: {found}; "
        f'name it with {role} = "COLUMN" or call it one of: {", ".join(candidates)}'
    )


def _ids(rows: Sequence[TableRow], where: str, named: str, column: str) -> list[str]:
    if named == ROW_NUMBER:
        return [str(number) for number in range(len(rows))]
    if named:
        ids = [text_of(cell(row, named), f"{where}, row {number}: '{named}'") for number, row in enumerate(rows, 1)]
        value, count = Counter(ids).most_common(1)[0]
        if count > 1:
            raise DataError(f"{where}: {_repeated_id(named, ids, value)}")
        return ids
    if not column:
        return [str(number) for number in range(len(rows))]
    first = ""
    for name in [column, *(other for other in IDS if other != column)]:
        values = [cell(row, name) for row in rows]
        if all(isinstance(value, str | int) for value in values):
            ids = [str(value) for value in values]
            repeated = Counter(ids).most_common(1)[0]
            if repeated[1] == 1:
                return ids
            first = first or _repeated_id(name, ids, repeated[0])
        elif not first and any(not is_empty(value) for value in values):
            number = next(row for row, value in enumerate(values, start=1) if not isinstance(value, str | int))
            first = f"row {number}: the id '{name}' is {values[number - 1]!r}"
    raise DataError(f"{where}: {first}; name another column with id, or number the rows with id = '{ROW_NUMBER}'")


def _repeated_id(name: str, ids: Sequence[str], value: str) -> str:
    first, second = [row for row, other in enumerate(ids, start=1) if other == value][:2]
    return f"rows {first} and {second} have the same '{name}', {value[:80]!r}"
