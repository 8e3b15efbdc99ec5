"""The formats of graded completions as JSON lines, recognised by their first line.

| format | a line has |
|---|---|
| ours | `problem_id`, `sample`, `status`; `seed` and `step` where there are any |
| the reference implementation's | `question_id`, `generation_id`, `label` |
| sample logs of lm-evaluation-harness | `doc_id`, `filter`, `metrics` and a key for each metric |
| dumps of verl's validation or rollouts | `input`, `output`, `gts`, `score`; `acc` where there is one |

A format turns one line after another into entries; what only the whole file tells, it says at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.entries import (
    UNGRADED,
    VERDICTS,
    Entry,
    Format,
    JsonRow,
    OneStep,
    answer_of,
    digest_of,
    identity_of,
    index_of,
    problem_id_of,
    reason_of,
    truncated_of,
)
from ngrpo.evaluation.harness_format import HarnessFormat
from ngrpo.evaluation.verl_format import VerlFormat


def format_of(row: JsonRow, metric: str | None = None, filter_name: str | None = None) -> Format:
    """Returns a reader for the format that a first line is of.

    Args:
        row: the first line.
        metric: which metric of a sample log of lm-evaluation-harness tells correct from wrong.
        filter_name: which of its filters.

    Raises:
        DataError: for a line of no known format.
        ConfigError: for a metric or a filter where the format has none.

    Example:
        >>> format_of({"question_id": 0, "generation_id": 0, "label": True}).name
        "the reference implementation's lines"
    """
    if "doc_id" in row and not row.keys().isdisjoint(("filter", "filtered_resps", "resps")):
        return HarnessFormat(metric, filter_name)
    found: Format
    if "problem_id" in row:
        found = OwnFormat()
    elif "question_id" in row:
        found = ReferenceFormat()
    elif {"input", "output", "score"} <= row.keys():
        found = VerlFormat()
    else:
        raise DataError(
            "not a line of a samples file: expected the keys problem_id, sample and status; or question_id, "
            "generation_id and label; or doc_id, filter and metrics (lm-evaluation-harness); or input, output and "
            "score (verl)"
        )
    if metric is not None or filter_name is not None:
        raise ConfigError(
            f"a metric or a filter can be chosen in sample logs of lm-evaluation-harness, not in {found.name}"
        )
    return found


class OwnFormat:
    """Lines of `ngrpo eval`, and of a training run's rollouts.jsonl as far as they are of one step."""

    name: ClassVar[str] = "ngrpo's lines"
    answer_key: ClassVar[str] = "answer"
    numbered: ClassVar[bool] = True

    def __init__(self) -> None:
        self.has_answers = False
        self._step = OneStep()

    def read(self, row: JsonRow, line: int) -> Iterable[Entry]:
        """Returns the one entry of a line."""
        status = row["status"]
        verdict = VERDICTS.get(status) if isinstance(status, str) else None
        if verdict is None:
            raise DataError(f"status {status!r} is none of {', '.join(VERDICTS)}")
        self._step.see(row)
        self.has_answers |= "answer" in row
        sample, seed = index_of(row["sample"], "sample"), row.get("seed")
        return [
            Entry(
                problem_id_of(row["problem_id"]),
                0 if seed is None else index_of(seed, "seed"),
                sample,
                verdict,
                line,
                None if status == "no_answer" else answer_of(row.get("answer")),
                reason_of(row) if verdict == UNGRADED else "",
                identity_of(row, reference="reference"),
                digest_of(row, "completion"),
                truncated_of(row),
                status == "no_answer",
            )
        ]

    def finish(self) -> Iterable[Entry]:
        """Raises DataError for a file of several training steps."""
        self._step.check()
        return ()


class ReferenceFormat:
    """Lines of the reference implementation's evaluation; its samples may have any numbers."""

    name: ClassVar[str] = "the reference implementation's lines"
    answer_key: ClassVar[str] = "pred_answer"
    numbered: ClassVar[bool] = False

    def __init__(self) -> None:
        self.has_answers = False
        self._with_answers: bool | None = None

    def read(self, row: JsonRow, line: int) -> Iterable[Entry]:
        """Returns the one entry of a line."""
        label = row["label"]
        if label not in (True, False):
            raise DataError(f"label {label!r} is neither true nor false")
        self.has_answers |= "pred_answer" in row
        if self._with_answers is None:
            self._with_answers = "pred_answer" in row
        sample = index_of(row["generation_id"], "generation_id")
        answer = answer_of(row.get("pred_answer"))
        return [
            Entry(
                problem_id_of(row["question_id"]),
                0,
                sample,
                int(label),
                line,
                answer,
                identity=identity_of(row, reference="gold_answer"),
                text=digest_of(row, "response"),
                truncated=truncated_of(row),
                silent=answer is None if self._with_answers else None,
            )
        ]

    def finish(self) -> Iterable[Entry]:
        """Nothing is held back."""
        return ()
