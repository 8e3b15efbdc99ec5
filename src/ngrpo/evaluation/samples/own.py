"""Lines of `ngrpo eval` and of training runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from ngrpo.errors import DataError
from ngrpo.evaluation.samples.entry import (
    NO_CHOICES,
    UNGRADED,
    VERDICTS,
    Choices,
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


class OwnFormat(Format):
    """Lines of `ngrpo eval`, and of a training run's rollouts.jsonl as far as they are of one step."""

    name: ClassVar[str] = "ngrpo's lines"
    answer_key: ClassVar[str] = "answer"
    numbered: ClassVar[bool] = True

    def __init__(self, choices: Choices = NO_CHOICES, place: str = "line") -> None:
        super().__init__(choices, place)
        self._step = OneStep()

    @classmethod
    def recognises(cls, row: JsonRow) -> bool:
        """Returns whether a row has `problem_id` and one of the other keys."""
        return "problem_id" in row and not row.keys().isdisjoint(("status", "completion"))

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
