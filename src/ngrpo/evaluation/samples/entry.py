"""What every format of graded completions is turned into, and what a format has to do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, get_args

from ngrpo.errors import DataError
from ngrpo.types import Status

WRONG, CORRECT, UNGRADED = 0, 1, 2
VERDICTS = dict.fromkeys(get_args(Status), WRONG) | {"correct": CORRECT, "ungraded": UNGRADED}

REFUSED = "refused"
"""The finish_reason of a line without a completion, because the server refused it."""

JsonRow = Mapping[str, Any]

Identity = tuple[tuple[str, str], ...]
"""What tells which problem a completion is of, beside the id: its reference, target or digest, each under its name."""


class Entry(NamedTuple):
    """One completion: whose it is, its verdict, and the line it stands in, from 1.

    `answer` is what votes: None where the completion gave none. `reason` says why it is ungraded, where that is known.
    `text` is the hash of the completion; `truncated` and `silent` (without an answer) are None where that is unknown.
    """

    problem_id: str
    seed: int
    sample: int
    verdict: int
    line: int
    answer: str | None = None
    reason: str = ""
    identity: Identity = ()
    text: int | None = None
    truncated: bool | None = None
    silent: bool | None = None


class Choices(NamedTuple):
    """What a user names of a file: a metric or scorer, a filter, and columns of a table (dots reach into objects)."""

    metric: str | None = None
    filter_name: str | None = None
    id: str | None = None
    sample: str | None = None
    correct: str | None = None

    @property
    def columns(self) -> bool:
        """Whether any column is named, which makes any file a table."""
        return not (self.id is None and self.sample is None and self.correct is None)


NO_CHOICES = Choices()


class CountRow(NamedTuple):
    """A row that holds counts: c of n completions of a problem are correct; `line` is its place in the file."""

    problem_id: str
    n: int
    c: int
    line: int


class Format:
    """Reads the rows of one file, in their order.

    `name` is for messages. `numbered` says that the samples of a problem are 0, 1, 2, ...: a gap is then an error.
    `has_answers` is True as soon as a row has a place for an answer, `answer_key`, even an empty one. `choosable` are
    the fields of `Choices` that the format understands. `counts` are the rows of a file that holds counts alone.
    """

    name: ClassVar[str]
    answer_key: ClassVar[str]
    numbered: ClassVar[bool] = False
    choosable: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, choices: Choices = NO_CHOICES, place: str = "line") -> None:
        self.choices = choices
        self.place = place
        self.has_answers = False
        self.counts: list[CountRow] = []

    @classmethod
    def recognises(cls, row: JsonRow) -> bool:
        """Returns whether a first row is of this format."""
        raise NotImplementedError

    @classmethod
    def rows_in(cls, document: Mapping[str, Any]) -> Iterable[JsonRow] | None:
        """Returns the rows that a JSON document of this format holds, None for any other document."""
        del document
        return None

    def read(self, row: JsonRow, line: int) -> Iterable[Entry]:
        """Returns the entries of a row; raises DataError, or KeyError for a missing key."""
        raise NotImplementedError

    def finish(self) -> Iterable[Entry]:
        """Returns the entries that were held back; raises DataError for what is wrong with the file as a whole."""
        return ()

    @property
    def reading(self) -> str:
        """What was chosen in reading the file, for the output; empty where there was no choice."""
        return ""


class OneStep:
    """Watches that all lines are of one training step, or of none."""

    def __init__(self) -> None:
        self._steps: dict[object, None] = {}

    def see(self, row: JsonRow) -> None:
        """Notes the step of a line; raises DataError for one that is no whole number."""
        step = row.get("step")
        if step is not None and (isinstance(step, bool) or not isinstance(step, int)):
            raise DataError(f"step must be a whole number, got {step!r}")
        self._steps[step] = None

    def check(self) -> None:
        """Raises DataError when there were several."""
        if len(self._steps) > 1:
            shown = ["none" if step is None else str(step) for step in self._steps]
            few = ", ".join(shown[:5]) + (", ..." if len(shown) > 5 else "")
            raise DataError(
                f"holds {len(shown)} training steps ({few}), so several policies: keep the lines of one step"
            )


def problem_id_of(value: object) -> str:
    """Returns the id as text, so that 7 and "7" are one; raises DataError for what is neither text nor whole."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"the id of a problem must be a string or a whole number, got {value!r}")


def index_of(value: object, key: str) -> int:
    """Returns a number from 0 that fits 64 bits; raises DataError naming the key for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    raise DataError(f"{key} must be a whole number >= 0, got {value!r}")


def answer_of(value: object) -> str | None:
    """Returns what a completion votes for; the marks of lm-evaluation-harness and verl for no answer are none."""
    if value is None:
        return None
    text = str(value).strip()
    return None if text.lower() in ("", "[invalid]") else text


def reason_of(row: JsonRow) -> str:
    """Returns why a line is ungraded, empty where it does not say so."""
    reason = row.get("reason")
    return reason if isinstance(reason, str) else ""


def identity_of(row: JsonRow, **keys: str) -> Identity:
    """Returns the identity of a line from the keys that it has, each under the name for the reader.

    >>> identity_of({"target": "18", "doc_hash": None}, target="target", digest="doc_hash")
    (('target', '18'),)
    """
    return tuple(
        (name, value.strip() if isinstance(value, str) else json.dumps(value, sort_keys=True))
        for name, key in keys.items()
        if (value := row.get(key)) is not None
    )


def digest_of(row: JsonRow, key: str) -> int | None:
    """Returns the hash of a completion within this process, None where it is lacking or was refused by a server."""
    text = row.get(key)
    return hash(text) if isinstance(text, str) and row.get("finish_reason") != REFUSED else None


def truncated_of(row: JsonRow) -> bool | None:
    """Returns whether a completion ended at its limit, None where `finish_reason` does not tell."""
    reason = row.get("finish_reason")
    return reason == "length" if isinstance(reason, str) and reason != REFUSED else None
