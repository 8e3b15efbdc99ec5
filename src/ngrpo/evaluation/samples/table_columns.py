"""Which columns of a table are the id, the sample number, the verdict or the counts, by all of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.samples.entry import UNGRADED, Choices
from ngrpo.evaluation.samples.facts import shortened
from ngrpo.evaluation.samples.verdict_values import list_in, verdict_of, whole_number

IDS = (
    *("problem_id", "task_id", "question_id", "id", "qid", "unique_id", "instance_id", "example_id", "prompt_id"),
    *("doc_id", "item_id", "problem_idx", "question_idx", "problem_index", "uid", "index", "idx", "extra_info.index"),
    *("metadata.id", "metadata.problem_id", "sample_id"),
)
TEXTS_OF_PROBLEMS = ("problem", "question", "prompt", "query", "instruction", "input")
"""Without an id, rows of one text are one problem."""
SAMPLES = (
    *("sample", "sample_id", "sample_idx", "sample_index", "sample_number", "sample_num", "completion_id"),
    *("completion_idx", "generation_id", "generation_idx", "gen_id", "response_id", "response_idx", "rollout"),
    *("rollout_id", "rollout_idx", "attempt", "attempt_id", "trial", "trial_id", "repeat", "repeat_id", "epoch"),
)
VERDICTS = (
    *("correct", "is_correct", "passed", "is_passed", "pass", "is_pass", "resolved", "solved", "is_solved", "success"),
    *("correctness", "graded_list", "acc", "accuracy", "exact_match", "correct_list", "is_correct_list"),
)
SCORES = ("score", "scores", "reward", "rewards", "grade", "grades", "verdict", "status", "pass@1", "score.accuracy")
"""Columns that are taken where none of `VERDICTS` can be read."""
COUNTS = (
    *(("n", "c"), ("num_samples", "num_correct"), ("n_samples", "n_correct"), ("num_completions", "num_correct")),
    *(("total", "num_correct"), ("num_total", "num_correct"), ("n_total", "n_correct"), ("total", "correct")),
    *(("total", "passed"), ("num_samples", "correct"), ("n", "correct"), ("n_samples", "correct")),
)
"""Pairs of columns: completions of a problem, and how many of them are correct."""
ANSWERS = ("pred_answer", "extracted_answer", "predicted_answer", "model_answer", "parsed_answer", "pred")
REFERENCES = ("reference", "gold_answer", "ground_truth", "expected_answer", "target", "gold")
COMPLETIONS = ("completion", "response", "output", "generation", "solution", "model_output", "output_list", "code_list")

Cells = Mapping[str, Any]


class Taken(NamedTuple):
    """The columns that are read; empty where there is none."""

    id: str
    sample: str = ""
    correct: str = ""
    total: str = ""


def taken_columns(rows: Sequence[Cells], places: Sequence[str], choices: Choices, found: Sequence[str]) -> Taken:
    """Returns the columns of a table: those that the user names, else those recognised by name and content.

    Args:
        rows: each with the cells that may matter, by column.
        places: where each row is, such as "line 3", for messages.
        choices: what the user names.
        found: all columns of the table, for messages.

    Raises:
        ConfigError: for a named column that is not there.
        DataError: when no column can be the id or the verdict, or several can and differ.
    """
    present = {name for row in rows for name, value in row.items() if value is not None}
    for option, name in (("--id", choices.id), ("--sample", choices.sample), ("--correct", choices.correct)):
        if name is not None and name not in present:
            raise ConfigError(f"{option}: no column '{name}', found: {_listed(found)}")
    count, correct = _counts(rows, present, choices.correct)
    if not count:
        correct = choices.correct or _verdict_column(rows, places, present, found)
    column = choices.id or _id_column(
        rows, present, found, each_once=not count and not any(list_in(row.get(correct)) for row in rows)
    )
    sample = choices.sample or next((name for name in SAMPLES if name in present and name != column), "")
    if count and choices.sample is not None:
        raise ConfigError(f"--sample: the table holds counts, '{count}' and '{correct}'")
    return Taken(column, "" if count else sample, correct, count)


def _counts(rows: Sequence[Cells], present: set[str], named: str | None) -> tuple[str, str]:
    for total, correct in COUNTS:
        if not {total, correct} <= present or named not in (None, correct):
            continue
        # "n" and "c" mean nothing else; other pairs must hold whole numbers throughout.
        sure = (total, correct) in COUNTS[:4]
        if sure or all(_is_pair(row.get(total), row.get(correct)) for row in rows):
            return total, correct
    return "", ""


def _is_pair(n: object, c: object) -> bool:
    total, correct = whole_number(n), whole_number(c)
    return total is not None and correct is not None and correct <= total


def _verdict_column(rows: Sequence[Cells], places: Sequence[str], present: set[str], found: Sequence[str]) -> str:
    faults = []
    for tier in (VERDICTS, SCORES):
        readable: dict[str, list[Any]] = {}
        for name in (name for name in tier if name in present):
            fault = _fault(rows, places, name)
            if fault:
                faults.append(fault)
            else:
                readable[name] = [_meaning(row.get(name)) for row in rows]
        if readable:
            return _agreed(readable, places)
    if faults:
        raise DataError(
            f"no column of verdicts (true or false, 0 or 1, ...): {'; '.join(faults[:3])}; name it "
            "with --correct COLUMN"
        )
    raise DataError(f"no column of verdicts, found: {_listed(found)}; name it with --correct COLUMN")


def _fault(rows: Sequence[Cells], places: Sequence[str], name: str) -> str:
    """Returns why a column holds no verdicts, empty where it does."""
    seen = False
    for row, place in zip(rows, places, strict=True):
        value = row.get(name)
        values = list_in(value)
        for one in [value] if values is None else values:
            verdict = verdict_of(one)
            if verdict is None:
                return f"'{name}' is {shortened(str(one), 30)} in {place}"
            seen |= verdict != UNGRADED
    return "" if seen else f"'{name}' is empty"


def _meaning(value: object) -> Any:
    values = list_in(value)
    return verdict_of(value) if values is None else [verdict_of(one) for one in values]


def _agreed(readable: Mapping[str, list[Any]], places: Sequence[str]) -> str:
    first, *others = readable
    for other in others:
        for at, (one, two) in enumerate(zip(readable[first], readable[other], strict=True)):
            if one != two:
                raise DataError(
                    f"'{first}' and '{other}' both hold verdicts and differ in {places[at]}: choose one with --correct"
                )
    return first


def _id_column(rows: Sequence[Cells], present: set[str], found: Sequence[str], *, each_once: bool) -> str:
    ids = [name for name in IDS if name in present]
    texts = [name for name in TEXTS_OF_PROBLEMS if name in present]
    if not ids and not texts:
        raise DataError(f"no column of problem ids, found: {_listed(found)}; name it with --id COLUMN")
    column = ids[0] if ids else texts[0]
    if each_once and len(rows) > 1 and _repeats(rows, column) == 0:
        for other in [*ids[1:], *texts]:
            if other != "sample_id" and other != column and _repeats(rows, other):
                raise DataError(f"'{column}' never repeats, but '{other}' does: name the problem's column with --id")
    return column


def _repeats(rows: Sequence[Cells], column: str) -> int:
    return len(rows) - len({repr(row.get(column)) for row in rows})


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(str, list(names)[:40])) or "none"
