r"""From rows to problems: which columns hold what, in the schemas that are in use.

Understood without any setting: plain columns (`problem` and `answer`, `question` and `reference`, ...), MATH's
worked solutions (the answer is in the last box), GSM8K's (after `####`), and verl's rows (`prompt` is a list of chat
messages, `reward_model.ground_truth` a string or a table). A dot in a column's name reaches into a nested table.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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

_GROUND_TRUTH = ("target", "answer", "ground_truth", "reference", "solution")


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of columns; empty: recognised by the lists of this module."""

    question: str = ""
    reference: str = ""
    id: str = ""


def problems_of(
    rows: Sequence[Row], where: str, columns: Columns, answer_of: Callable[[str], str | None]
) -> list[Problem]:
    """Returns the problem of each row, in order.

    A question that is a chat of one user message is that message, so that the task's template applies; a longer chat
    becomes the problem's `messages`. Ids that a named column holds must be unique; where a column that was only
    recognised repeats one, all problems are numbered from 0 by row instead.

    Args:
        rows: at least one.
        where: the file or dataset, for messages.
        columns: names given by the user.
        answer_of: the answer inside the text of the reference column, or None where that text has none.

    Raises:
        DataError: naming the row, for a missing or empty cell; naming the columns found, for one not recognised.
    """
    chosen = _recognised(rows[0], where, columns)
    problems = []
    for number, row in enumerate(rows, start=1):
        place = f"{where}, row {number}"
        question, messages = _question(cell(row, chosen.question), f"{place}: '{chosen.question}'")
        reference = _reference(cell(row, chosen.reference), f"{place}: '{chosen.reference}'", answer_of)
        metadata = {name: row[name] for name in METADATA if isinstance(row.get(name), str | int | float)}
        problems.append(Problem(str(number - 1), question, reference, messages, metadata))
    return _with_ids(problems, rows, where, columns.id, chosen.id)


def final_answer(text: str) -> str | None:
    r"""Returns the answer of a reference text: its last box, what follows `####`, or a short text itself.

    None for a worked solution that declares no answer: nobody could reach it, every group would be all-wrong.

    >>> final_answer(r"Adding, $1+1=\boxed{2}$."), final_answer("6 + 6 = 12\n#### 12"), final_answer("12")
    ('2', '12', '12')
    """
    boxed = last_boxed(text)
    if boxed is not None:
        return boxed
    before, mark, answer = text.rpartition("####")
    if mark:
        return answer.strip()
    return text.strip() if len(text) <= LONGEST_PLAIN_REFERENCE else None


LONGEST_PLAIN_REFERENCE = 400
"""Characters of a reference without a box beyond which it is taken for a worked solution; MATH's longest has 159."""


def cell(row: Row, column: str) -> Any:
    """Returns the value under a column, None where it is absent; a dot reaches into tables, also ones in JSON text.

    >>> cell({"reward_model": '{"ground_truth": "7"}'}, "reward_model.ground_truth")
    '7'
    """
    if column in row:
        return row[column]
    value: Any = row
    for key in column.split("."):
        value = _from_json(value, dict)
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _recognised(row: Row, where: str, wanted: Columns) -> Columns:
    return Columns(
        question=wanted.question or _first(row, QUESTIONS) or _unmapped(row, where, "question", QUESTIONS),
        reference=wanted.reference or _first(row, REFERENCES) or _unmapped(row, where, "reference", REFERENCES),
        id=wanted.id or _first(row, IDS),
    )


def _first(row: Row, candidates: Sequence[str]) -> str:
    return next((name for name in candidates if cell(row, name) is not None), "")


def _unmapped(row: Row, where: str, role: str, candidates: Sequence[str]) -> str:
    raise DataError(
        f"{where}: no column for the {role}, found: {', '.join(map(str, row)) or 'none'}; "
        f'name it with {role} = "COLUMN" or call it one of: {", ".join(candidates)}'
    )


def _question(value: Any, where: str) -> tuple[str, tuple[Message, ...]]:
    value = _from_json(value, list)
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
    value = _from_json(value, dict)
    if isinstance(value, dict):
        value = next((value[key] for key in _GROUND_TRUTH if value.get(key) is not None), None)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    answer = answer_of(_text(value, where))
    if not answer:
        raise DataError(f"{where} has no answer that can be found: a \\boxed one, one after ####, or the answer alone")
    return answer


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


def _from_json(value: Any, kind: type) -> Any:
    """A table or list that a CSV or JSON file holds as text, else the value as it is.

    Mathematics has brackets too ("[1,2]", "{3}"): only a table, or a list of tables, is taken for JSON.
    """
    if not (isinstance(value, str) and value.lstrip()[:1] in ("{", "[")):
        return value
    try:
        parsed = json.loads(value)
    except (json.JSONDecodeError, RecursionError):
        return value
    meant = isinstance(parsed, kind) and (kind is dict or all(isinstance(item, dict) for item in parsed))
    return parsed if meant and parsed else value


def _with_ids(problems: list[Problem], rows: Sequence[Row], where: str, named: str, column: str) -> list[Problem]:
    if not column:
        return problems
    ids = list(_ids(rows, where, named, column))
    repeated = [value for value, count in Counter(ids).items() if count > 1]
    if not repeated and all(ids):
        return [
            Problem(name, problem.question, problem.reference, problem.messages, problem.metadata)
            for name, problem in zip(ids, problems, strict=True)
        ]
    if named:
        first, second = [row for row, value in enumerate(ids, start=1) if value == repeated[0]][:2]
        raise DataError(f"{where}: rows {first} and {second} have the same '{named}', {repeated[0]!r}")
    return problems


def _ids(rows: Sequence[Row], where: str, named: str, column: str) -> Iterator[str]:
    for number, row in enumerate(rows, start=1):
        value = cell(row, column)
        if named:
            yield _text(value, f"{where}, row {number}: '{named}'")
        else:
            yield "" if isinstance(value, dict | list | None) else str(value)
