"""Logs of inspect_ai, .eval and .json; read in its version 0.3.285. Epochs of a sample are the samples of a problem."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from ngrpo.errors import DataError
from ngrpo.evaluation.samples.entry import (
    CORRECT,
    UNGRADED,
    WRONG,
    Entry,
    Format,
    JsonRow,
    answer_of,
    identity_of,
    index_of,
    problem_id_of,
)

VALUES = {
    "C": CORRECT,
    "I": WRONG,
    "P": WRONG,
    "N": WRONG,
    "yes": CORRECT,
    "true": CORRECT,
    "no": WRONG,
    "false": WRONG,
}
"""Scores as text. Partial credit is wrong, as for inspect's own reducer `pass_at`."""


class InspectFormat(Format):
    """A row per sample and epoch; `scores` has a value for each scorer, or a table of named values.

    Several scorers need a choice: SCORER, or SCORER.NAME for one with named values. A sample without a score (it
    failed, or the scorer gave none or NaN) is ungraded.
    """

    name: ClassVar[str] = "logs of inspect_ai"
    answer_key: ClassVar[str] = "scores.SCORER.answer"
    choosable: ClassVar[frozenset[str]] = frozenset({"metric"})

    @classmethod
    def recognises(cls, row: JsonRow) -> bool:
        """Returns whether a row has `id`, `epoch` and `scores` or `error`."""
        return {"id", "epoch"} <= row.keys() and not row.keys().isdisjoint(("scores", "error"))

    @classmethod
    def rows_in(cls, document: Mapping[str, Any]) -> Iterable[JsonRow] | None:
        """Returns the samples of a log that holds them."""
        samples = document.get("samples")
        return samples if {"eval", "status"} <= document.keys() and isinstance(samples, list) and samples else None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._entries: list[tuple[Entry, dict[str, Any]]] = []
        self._partial = 0
        self._names: dict[str, None] = {}

    def read(self, row: JsonRow, line: int) -> Iterable[Entry]:
        """Holds the sample back: which scorers there are, only the whole file tells."""
        scores = _values(row.get("scores"))
        self._names |= dict.fromkeys(scores)
        error = row.get("error")
        reason = error.get("message") if isinstance(error, dict) else None
        output = row.get("output")
        text, stop = _completion(output if isinstance(output, dict) else {})
        entry = Entry(
            problem_id_of(row["id"]),
            0,
            index_of(row["epoch"], "epoch"),
            UNGRADED,
            line,
            reason=reason.splitlines()[0][:200] if isinstance(reason, str) and reason else "no score",
            identity=identity_of(row, target="target"),
            text=None if text is None else hash(text),
            truncated=None if stop is None else stop in ("max_tokens", "model_length"),
        )
        self._entries.append((entry, scores))
        return ()

    def finish(self) -> Iterable[Entry]:
        """Returns the entries by the chosen scorer; raises DataError for several without a choice."""
        chosen = self._chosen()
        entries = []
        for entry, scores in self._entries:
            value, answer = scores.get(chosen, (None, None))
            verdict = self._verdict(value, entry, chosen)
            if verdict == UNGRADED:
                entries.append(entry)
                continue
            self.has_answers = True
            voted = answer_of(answer)
            entries.append(entry._replace(verdict=verdict, reason="", answer=voted, silent=voted is None))
        return entries

    @property
    def reading(self) -> str:
        """Which scorer decides, and how many partial scores count as wrong."""
        partial = f", {self._partial} partial scores (P) count as wrong" if self._partial else ""
        return f"inspect_ai, scorer {self._chosen()!r}{partial}"

    def _chosen(self) -> str:
        names, wanted = ", ".join(self._names), self.choices.metric
        if wanted is not None:
            if wanted not in self._names:
                raise DataError(f"has no scorer {wanted!r}, found: {names or 'none'}")
            return wanted
        if not self._names:
            raise DataError("has no scores: the log was not scored, run inspect score")
        if len(self._names) > 1:
            raise DataError(f"holds several scorers, {names}: choose one with --metric")
        return next(iter(self._names))

    def _verdict(self, value: object, entry: Entry, scorer: str) -> int:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return UNGRADED
        if isinstance(value, str):
            self._partial += value == "P"
            found = VALUES.get(value, VALUES.get(value.lower()))
            if found is not None:
                return found
        if isinstance(value, int | float) and value in (0, 1):
            return CORRECT if value == 1 else WRONG
        raise DataError(
            f"{self.place} {entry.line}: score {value!r} of {scorer!r} is none of C, I, P, N, 0 and 1: Pass@k "
            "needs right or wrong"
        )


def _values(scores: object) -> dict[str, Any]:
    """Returns the value and the answer of each scorer, those of named values under SCORER.NAME."""
    found: dict[str, Any] = {}
    for name, score in (scores if isinstance(scores, dict) else {}).items():
        if not isinstance(score, dict) or "value" not in score:
            found[name] = (score, None)
        elif isinstance(score["value"], dict):
            found |= {f"{name}.{key}": (value, score.get("answer")) for key, value in score["value"].items()}
        else:
            found[name] = (score["value"], score.get("answer"))
    return found


def _completion(output: Mapping[str, Any]) -> tuple[str | None, str | None]:
    choices = output.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    text, stop = output.get("completion"), first.get("stop_reason")
    return (text if isinstance(text, str) and first else None), (stop if isinstance(stop, str) else None)
