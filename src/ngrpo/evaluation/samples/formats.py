"""The formats of graded completions, and which of them a file is of.

| format | a row has |
|---|---|
| ours | `problem_id`, `sample`, `status`; `seed` and `step` where there are any |
| the reference implementation's | `question_id`, `generation_id`, `label` |
| sample logs of lm-evaluation-harness | `doc_id`, `filter`, `metrics` and a key for each metric |
| dumps of verl's validation or rollouts | `input`, `output`, `gts`, `score`; `acc` where there is one |
| samples of inspect_ai's logs | `id`, `epoch`, `scores` |
| results of evalplus | `task_id`, `base_status`, `plus_status` |
| details of lighteval | `doc`, `metric`, `model_response` |
| a table (HumanEval's and LiveCodeBench's results, anybody's) | an id and a verdict, verdicts or counts |

The last takes whatever no other does. A format turns one row after another into entries; what only the whole file
tells, it says at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ngrpo.errors import ConfigError
from ngrpo.evaluation.samples.entry import NO_CHOICES, Choices, Format, JsonRow
from ngrpo.evaluation.samples.evalplus import EvalplusFormat
from ngrpo.evaluation.samples.harness_logs import HarnessFormat
from ngrpo.evaluation.samples.inspect_logs import InspectFormat
from ngrpo.evaluation.samples.lighteval import LightevalFormat
from ngrpo.evaluation.samples.own import OwnFormat
from ngrpo.evaluation.samples.reference import ReferenceFormat
from ngrpo.evaluation.samples.table import TableFormat
from ngrpo.evaluation.samples.verl_dumps import VerlFormat

FORMATS: tuple[type[Format], ...] = (
    OwnFormat,
    ReferenceFormat,
    HarnessFormat,
    VerlFormat,
    InspectFormat,
    EvalplusFormat,
    LightevalFormat,
    TableFormat,
)

_OPTIONS = {"metric": "--metric", "filter_name": "--filter", "id": "--id", "sample": "--sample", "correct": "--correct"}


def format_of(row: JsonRow, choices: Choices = NO_CHOICES, place: str = "line") -> Format:
    """Returns a reader for the format that a first row is of; columns that the user names make it a table.

    Args:
        row: the first row.
        choices: what the user names.
        place: what rows are called in messages: line, row or sample.

    Raises:
        ConfigError: for a choice that the format does not have.

    Examples:
        >>> format_of({"question_id": 0, "generation_id": 0, "label": True}).name
        "the reference implementation's lines"
    """
    found = TableFormat if choices.columns else next(one for one in FORMATS if one.recognises(row))
    for field, option in _OPTIONS.items():
        if getattr(choices, field) is not None and field not in found.choosable:
            can = " and ".join(one.name for one in FORMATS if field in one.choosable)
            raise ConfigError(f"{option} is for {can}, not for {found.name}")
    return found(choices, place)


def rows_of_document(document: Mapping[str, Any]) -> Iterable[JsonRow] | None:
    """Returns the rows of a JSON document that one of the formats knows, None for any other."""
    return next((rows for one in FORMATS if (rows := one.rows_in(document)) is not None), None)
