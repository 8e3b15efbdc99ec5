r"""From rows to problems: which columns hold what, in the schemas that are in use.

Understood without any setting: plain columns (`problem` and `answer`, `question` and `reference`, ...),
MATH's worked solutions (the answer is in the last box), GSM8K's (after `####`), and verl's rows (`prompt` is
a list of chat messages, `reward_model.ground_truth` a string or a table). A dot in a column's name reaches
into a nested table.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ngrpo.errors import DataError
from ngrpo.grading.extract import last_boxed
from ngrpo.tasks.rows import Row
from ngrpo.types import Message, Problem

QUESTIONS = ("question", "problem", "prompt", "query", "instruction", "input")
REFERENCES = (
    "answer",
    "reference",
    "target",
    "ground_truth",
    "final_answer",
    "reference_answer",
    "expected_answer",
    "reward_model.ground_truth",
    "solution",
)
IDS = ("id", "problem_id", "question_id", "unique_id", "uid", "index", "extra_info.index")
METADATA = ("level", "type", "subject", "difficulty", "data_source", "source")
"""Columns that are kept with the problem, for filters and reports."""
TABLES = ("metadata", "extra_info")
"""Columns of tables that are kept too: the keys of the first as they are, the second under its name."""
LONGEST_PLAIN_REFERENCE = 400
"""A longer reference without a box is taken for a worked solution; MATH's longest answer has 159 characters."""
UNANSWERED_SHARE = 0.01
"""Up to this share of rows without an answer is left out and logged: MATH itself has one in 7,500."""

_GROUND_TRUTH = ("target", "answer", "ground_truth", "reference", "solution")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of columns; empty: recognised by the lists of this module."""

    question: str = ""
    reference: str = ""
    id: str = ""


class _NoAnswerError(DataError):
    pass


@dataclass(frozen=True, slots=True)
class References:
    """How references are read and checked.

    `answer_of` gives the answer inside the text of the reference column, or None where that text has none; `fault_of`
    says why no completion could be correct for an answer, or None. With `leave_out` such rows are listed and left out.
    """

    answer_of: Callable[[str], str | None]
    fault_of: Callable[[str], str | None]
    leave_out: bool = False


def problems_of(rows: Sequence[Row], where: str, columns: Columns, references: References) -> list[Problem]:
    """Returns the problem of each row, in order.

    A question that is a chat of one user message is that message, so that the task's template applies; a
    longer chat becomes the problem's `messages`. Ids that a named column holds must be unique; where a column
    that was only recognised repeats one, all problems are numbered from 0 by row instead. A row without an
    answer is an error; in a large file a few of them (`UNANSWERED_SHARE`) are left out and logged instead.

    Args:
        rows: at least one.
        where: the file or dataset, for messages.
        columns: names given by the user.
        references: how the reference column is read and checked.

    Raises:
        DataError: for a missing or empty cell or a reference that no completion could reach, naming the row; for
            unknown columns, naming those found.
    """
    chosen = _recognised(rows[0], where, columns)
    ids = _ids(rows, where, columns.id, chosen.id)
    problems: list[Problem] = []
    unanswered: list[_NoAnswerError] = []
    for number, (name, row) in enumerate(zip(ids, rows, strict=True), start=1):
        place = f"{where}, row {number}"
        column = f"{place}: '{chosen.reference}'"
        question, messages = _question(cell(row, chosen.question), f"{place}: '{chosen.question}'")
        try:
            reference = _reference(cell(row, chosen.reference), column, references.answer_of)
        except _NoAnswerError as error:
            unanswered.append(error)
            continue
        if fault := references.fault_of(reference):
            _refuse(f"{column}: no completion can reach the reference {reference[:80]!r}: {fault}", references)
            continue
        problems.append(Problem(name, question, reference, messages, metadata_of(row)))
    if len(unanswered) > UNANSWERED_SHARE * len(rows):
        raise unanswered[0]
    if unanswered:
        _log.warning("%d of %d rows are left out; the first: %s", len(unanswered), len(rows), unanswered[0])
    return problems


def _refuse(message: str, references: References) -> None:
    if not references.leave_out:
        raise DataError(f"{message} (unreadable_references = 'leave_out' leaves such rows out)")
    _log.warning("left out: %s", message)


def metadata_of(row: Row) -> dict[str, Any]:
    """Returns what a task, a verifier or a report may ask about a problem beside its question and reference.

    >>> metadata_of({"question": "?", "level": 3, "metadata": {"source_dataset": "chess"}})
    {'source_dataset': 'chess', 'level': 3}
    """
    kept = {key: row[key] for key in METADATA if isinstance(row.get(key), str | int | float)}
    tables = {key: table for key in TABLES if isinstance(table := _table_in(row.get(key)), dict)}
    return {**tables.pop("metadata", {}), **tables, **kept}


def final_answer(text: str) -> str | None:
    r"""Returns the answer of a reference text: its last box, what follows `####`, or a short text itself.

    None for a worked solution that declares no answer: nobody could reach it, every group would be all-wrong.

    >>> final_answer(r"Adding, $1+1=\boxed{2}$."), final_answer("6 + 6 = 12\n#### 12"), final_answer("12")
    ('2', '12', '12')
    """
    boxed = last_boxed(text)
    if boxed is not None:
        return boxed
    _, mark, answer = text.rpartition("####")
    if mark:
        return answer.strip()
    return text.strip() if len(text) <= LONGEST_PLAIN_REFERENCE else None


def cell(row: Row, column: str) -> Any:
    """Returns the value under a column, None where it is absent; a dot reaches into tables, JSON text too.

    >>> cell({"reward_model": '{"ground_truth": "7"}'}, "reward_model.ground_truth")
    '7'
    """
    if column in row:
        return row[column]
    value: Any = row
    for key in column.split("."):
        value = _table_in(value)
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _recognised(row: Row, where: str, wanted: Columns) -> Columns:
    return Columns(
        question=_chosen(row, where, "question", wanted.question, QUESTIONS),
        reference=_chosen(row, where, "reference", wanted.reference, REFERENCES),
        id=wanted.id or _first(row, IDS),
    )


def _chosen(row: Row, where: str, role: str, wanted: str, candidates: Sequence[str]) -> str:
    found = ", ".join(map(str, row)) or "none"
    if wanted:
        if cell(row, wanted) is None:
            raise DataError(f"{where}: no column '{wanted}' for the {role}, found: {found}")
        return wanted
    recognised = _first(row, candidates)
    if not recognised:
        raise DataError(
            f"{where}: no column for the {role}, found: {found}; "
            f'name it with {role} = "COLUMN" or call it one of: {", ".join(candidates)}'
        )
    return recognised


def _first(row: Row, candidates: Sequence[str]) -> str:
    return next((name for name in candidates if cell(row, name) is not None), "")


def _question(value: Any, where: str) -> tuple[str, tuple[Message, ...]]:
    value = _tables_in(value)
    if not isinstance(value, list):
        return _text(value, where), ()
    if not value or not all(isinstance(turn, dict) and isinstance(turn.get("role"), str) for turn in value):
        raise DataError(f"{where} must be text or a list of messages with 'role' and 'content'")
    messages = tuple(Message(turn["role"], _text(turn.get("content"), where)) for turn in value)
    asked = [message.content for message in messages if message.role == "user"]
    if not asked:
        raise DataError(f"{where} holds no message of the role 'user'")
    return asked[-1], () if len(messages) == 1 else messages


def _reference(value: Any, where: str, answer_of: Callable[[str], str | None]) -> str:
    table = _table_in(value)
    if isinstance(table, dict) and (isinstance(value, dict) or not table.keys().isdisjoint(_GROUND_TRUTH)):
        value = _ground_truth(table)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None or (isinstance(value, str) and not value.strip()):
        raise _NoAnswerError(f"{where} is missing or empty")
    answer = answer_of(_text(value, where))
    if not answer:
        raise _NoAnswerError(f"{where} has no answer in a \\boxed, after ####, or alone")
    return answer


def _ground_truth(table: Row) -> Any:
    r"""The solution's box before `target`: MATH's targets in verl's files have lost white space and line breaks.

    There `\pi a^2` became `\pia^2` and the `\\` of every matrix a single backslash, which no answer can
    equal.
    """
    solution = table.get("solution")
    boxed = last_boxed(solution) if isinstance(solution, str) else None
    return boxed or next((table[key] for key in _GROUND_TRUTH if table.get(key) is not None), None)


def _text(value: Any, where: str) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column of numbers with a gap is read as floats: 27.0 was written 27
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise DataError(f"{where} is missing or empty")
    if not isinstance(value, str):
        raise DataError(f"{where} must be text, got {type(value).__name__}")
    return value


def _table_in(value: Any) -> Any:
    """A table that a CSV or JSON file holds as text; any other value as it is ("{3}" is mathematics)."""
    parsed = _json_in(value, "{")
    return parsed if parsed and isinstance(parsed, dict) else value


def _tables_in(value: Any) -> Any:
    """A list of tables that a file holds as text; any other value as it is ("[1,2]" is mathematics)."""
    parsed = _json_in(value, "[")
    return parsed if parsed and all(isinstance(item, dict) for item in parsed) else value


def _json_in(value: Any, opening: str) -> Any:
    if not (isinstance(value, str) and value.lstrip().startswith(opening)):
        return None
    try:
        return json.loads(value)
    except (json.JSONDecodeError, RecursionError):
        return None


def _ids(rows: Sequence[Row], where: str, named: str, column: str) -> list[str]:
    if named:
        ids = [_text(cell(row, named), f"{where}, row {number}: '{named}'") for number, row in enumerate(rows, 1)]
        name, count = Counter(ids).most_common(1)[0]
        if count > 1:
            first, second = [row for row, value in enumerate(ids, start=1) if value == name][:2]
            raise DataError(f"{where}: rows {first} and {second} have the same '{named}', {name!r}")
        return ids
    values = [cell(row, column) for row in rows] if column else []
    if all(isinstance(value, str | int) for value in values) and len(set(map(str, values))) == len(rows):
        return [str(value) for value in values]
    return [str(number) for number in range(len(rows))]
