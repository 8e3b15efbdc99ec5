"""Lines of the reference implementation's evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from ngrpo.errors import DataError
from ngrpo.evaluation.samples.entry import (
    NO_CHOICES,
    Choices,
    Entry,
    Format,
    JsonRow,
    answer_of,
    digest_of,
    identity_of,
    index_of,
    problem_id_of,
    truncated_of,
)


class ReferenceFormat(Format):
    """Lines of the reference implementation's evaluation; its samples may have any numbers."""

    name: ClassVar[str] = "the reference implementation's lines"
    answer_key: ClassVar[str] = "pred_answer"

    def __init__(self, choices: Choices = NO_CHOICES, place: str = "line") -> None:
        super().__init__(choices, place)
        self._with_answers: bool | None = None

    @classmethod
    def recognises(cls, row: JsonRow) -> bool:
        """Returns whether a row has `question_id`, `generation_id` and `label`."""
        return {"question_id", "generation_id", "label"} <= row.keys()

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
