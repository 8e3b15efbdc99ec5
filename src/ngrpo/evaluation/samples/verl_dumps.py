"""Dumps of verl's validation and rollouts; read in its version 0.9.1, the older trainer and the newer one."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from typing import ClassVar

from ngrpo.errors import DataError
from ngrpo.evaluation.samples.entry import (
    CORRECT,
    NO_CHOICES,
    UNGRADED,
    WRONG,
    Choices,
    Entry,
    Format,
    JsonRow,
    OneStep,
    answer_of,
    digest_of,
    truncated_of,
)


class VerlFormat(Format):
    """Lines of `trainer.validation_data_dir` and `trainer.rollout_data_dir`; there is no id of the problem.

    Equal `input` and `gts` are one problem. Newer trainers write a `uid` of the form PROMPT_ROLLOUT_TURN: then the
    prompt's is the problem, and of a rollout's several turns only the last counts. A completion is correct by `acc`
    where lines have it, else by `score`; both must be 0 or 1, or -1 or 1. Where verl's own reward manager noted a
    `timeout` or an `error`, or `acc` is null, it is ungraded.
    """

    name: ClassVar[str] = "verl's dumps"
    answer_key: ClassVar[str] = "pred"
    numbered: ClassVar[bool] = True

    def __init__(self, choices: Choices = NO_CHOICES, place: str = "line") -> None:
        super().__init__(choices, place)
        self._step = OneStep()
        self._key: str | None = None
        self._low: dict[int, int] = {}
        self._seen: dict[str, int] = {}
        self._turns: dict[tuple[str, str], dict[int, Entry]] = {}

    @classmethod
    def recognises(cls, row: JsonRow) -> bool:
        """Returns whether a row has `input`, `output` and `score`."""
        return {"input", "output", "score"} <= row.keys()

    def read(self, row: JsonRow, line: int) -> Iterable[Entry]:
        """Returns the entry of a line; a turn of a rollout is held back, for a later one may replace it."""
        self._step.see(row)
        if self._key is None:
            self._key = "acc" if "acc" in row else "score"
        verdict, reason = self._verdict(row[self._key], row, line)
        self.has_answers |= "pred" in row
        name = name_of_input(row["input"], row.get("gts"))
        answer = answer_of(row.get("pred"))
        entry = Entry(
            name,
            0,
            0,
            verdict,
            line,
            answer,
            reason,
            text=digest_of(row, "output"),
            truncated=truncated_of(row),
            silent=answer is None if "pred" in row else None,
        )
        parts = row["uid"].rsplit("_", 2) if isinstance(row.get("uid"), str) else []
        if len(parts) == 3 and parts[2].isdecimal():
            turns = self._turns.setdefault((parts[0], parts[1]), {})
            if int(parts[2]) in turns:
                raise DataError(f"uid {row['uid']!r} is a duplicate of line {turns[int(parts[2])].line}")
            turns[int(parts[2])] = entry
            return []
        return [self._counted(entry, name)]

    def finish(self) -> Iterable[Entry]:
        """Returns each rollout's last turn; raises DataError for several steps, or both -1 and 0 as wrong."""
        self._step.check()
        if len(self._low) > 1:
            raise DataError(
                f"{self._key} is 0 in line {self._low[0]} and -1 in line {self._low[-1]}: "
                "it must be 0 or 1 throughout, or -1 or 1"
            )
        names: dict[str, str] = {}
        times: Counter[str] = Counter()
        entries = []
        for (prompt, _), turns in self._turns.items():
            # The first turn's input is the prompt that all rollouts of a problem share.
            first, last = turns[min(turns)], turns[max(turns)]
            if prompt not in names:
                # Two prompts of equal text are two problems.
                times[first.problem_id] += 1
                again = f" ({times[first.problem_id]})" if times[first.problem_id] > 1 else ""
                names[prompt] = first.problem_id + again
            entries.append(self._counted(last, names[prompt]))
        return entries

    def _counted(self, entry: Entry, name: str) -> Entry:
        sample = self._seen.get(name, 0)
        self._seen[name] = sample + 1
        return entry._replace(problem_id=name, sample=sample)

    def _verdict(self, value: object, row: JsonRow, line: int) -> tuple[int, str]:
        if row.get("timeout") is True:
            return UNGRADED, "timeout"
        if isinstance(row.get("error"), str) and row["error"]:
            return UNGRADED, row["error"]
        if value is None and self._key == "acc":
            return UNGRADED, "acc is null"
        if value not in (0, 1, -1):
            raise DataError(
                f"{self._key} {value!r} is neither 0 or 1 nor -1 or 1: a reward is not a verdict; dumps whose reward "
                "function returns 'acc' can be counted"
            )
        if value == 1:
            return CORRECT, ""
        self._low.setdefault(0 if value == 0 else -1, line)
        return WRONG, ""


def name_of_input(text: object, reference: object) -> str:
    """A name that the same problem has in every file: a digest, and the beginning of its input for the reader."""
    if not isinstance(text, str):
        raise DataError(f"input must be text, got {text!r}")
    digest = hashlib.sha256(json.dumps([text, reference]).encode("utf-8", "backslashreplace")).hexdigest()[:12]
    return f"{digest} {' '.join(text[:200].split())[:40]}".rstrip()
