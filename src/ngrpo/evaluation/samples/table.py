"""Tables of anybody: a row per completion, a list of verdicts per problem, or counts per problem."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.samples.entry import (
    NO_CHOICES,
    UNGRADED,
    WRONG,
    Choices,
    CountRow,
    Entry,
    Format,
    JsonRow,
    answer_of,
    identity_of,
    problem_id_of,
    truncated_of,
)
from ngrpo.evaluation.samples.facts import shortened
from ngrpo.evaluation.samples.table_columns import (
    ANSWERS,
    COMPLETIONS,
    COUNTS,
    IDS,
    REFERENCES,
    SAMPLES,
    SCORES,
    TEXTS_OF_PROBLEMS,
    VERDICTS,
    Taken,
    taken_columns,
)
from ngrpo.evaluation.samples.verdict_values import list_in, verdict_of, whole_number
from ngrpo.evaluation.samples.verl_dumps import name_of_input
from ngrpo.tasks.cells import cell

CANDIDATES = tuple(
    dict.fromkeys((*IDS, *SAMPLES, *VERDICTS, *SCORES, *(name for pair in COUNTS for name in pair), *ANSWERS, "seed"))
)
_ROOTS = {name: name.partition(".")[0] for name in CANDIDATES}


class TableFormat(Format):
    """Rows with an id and a verdict, verdicts or counts under any names.

    Columns are recognised by all rows, so everything is held back to the end of the file, texts as digests. Without a
    sample number the order in the file counts.
    """

    name: ClassVar[str] = "tables"
    answer_key: ClassVar[str] = " or ".join(ANSWERS[:2])
    choosable: ClassVar[frozenset[str]] = frozenset({"id", "sample", "correct"})

    def __init__(self, choices: Choices = NO_CHOICES, place: str = "line") -> None:
        super().__init__(choices, place)
        named = [name for name in (choices.id, choices.sample, choices.correct) if name]
        self._roots = {**_ROOTS, **{name: name.partition(".")[0] for name in named}}
        self._rows: list[dict[str, Any]] = []
        self._more: list[Entry] = []
        self._texts: list[list[int | None] | int | None] = []
        self._found: dict[str, None] = {}
        self._taken = Taken("")

    @classmethod
    def recognises(cls, row: JsonRow) -> bool:
        """Returns True: a table may have any columns."""
        del row
        return True

    def read(self, row: JsonRow, line: int) -> Iterable[Entry]:
        """Keeps the cells that may matter."""
        self._found |= dict.fromkeys(row)
        cells = {
            name: value
            for name, root in self._roots.items()
            if (name in row or root in row) and (value := cell(dict(row) if root != name else row, name)) is not None  # type: ignore[arg-type]
        }
        for name in TEXTS_OF_PROBLEMS:
            if isinstance(row.get(name), str) and name not in cells:
                cells[name] = name_of_input(row[name], None)
        self._rows.append(cells)
        self._texts.append(next((_digests(row[name]) for name in COMPLETIONS if name in row), None))
        references = {name: row[name] for name in REFERENCES if isinstance(row.get(name), str | int | float)}
        identity = identity_of(references, **dict(list({name: name for name in references}.items())[:1]))
        self._more.append(Entry("", 0, 0, UNGRADED, line, identity=identity, truncated=truncated_of(row)))
        return ()

    def finish(self) -> Iterable[Entry]:
        """Returns the entries of all rows, or notes their counts."""
        if not self._rows:
            return ()
        self._taken = taken_columns(
            self._rows, [self._place(at) for at in range(len(self._rows))], self.choices, list(self._found)
        )
        if self._taken.total:
            self._note_counts()
            return ()
        self._refuse_mixed_zeros()
        return self._entries()

    @property
    def reading(self) -> str:
        """The columns that were taken."""
        taken = self._taken
        if taken.total:
            return f"columns: id '{taken.id}', samples '{taken.total}', correct '{taken.correct}'"
        sample = f"sample '{taken.sample}'" if taken.sample else "sample by order"
        return f"columns: id '{taken.id}', {sample}, correct '{taken.correct}'"

    def _entries(self) -> Iterator[Entry]:
        answer_column = next((name for name in ANSWERS if any(name in row for row in self._rows)), "")
        self.has_answers = bool(answer_column)
        numbers = _Numbers()
        lists: dict[str, int] = {}
        for at, row in enumerate(self._rows):
            problem_id = self._problem_id(row, at)
            values = list_in(row.get(self._taken.correct))
            seed = 0
            if values is None:
                values, answers = [row.get(self._taken.correct)], [row.get(answer_column)]
                samples = [self._sample(row, at, numbers, problem_id)]
                seed = (
                    (whole_number(row.get("seed")) or 0) if self._taken.sample and self._taken.sample != "seed" else 0
                )
            else:
                self._refuse_repeated_list(problem_id, at, lists)
                answers, samples = _aligned(row.get(answer_column), len(values)), list(range(len(values)))
            texts = _aligned(self._texts[at], len(values))
            for value, answer, sample, text in zip(values, answers, samples, texts, strict=True):
                yield self._entry(at, value)._replace(
                    problem_id=problem_id,
                    seed=seed,
                    sample=sample,
                    answer=(voted := answer_of(answer)),
                    text=text,
                    silent=voted is None if answer_column else None,
                )

    def _entry(self, at: int, value: object) -> Entry:
        verdict = verdict_of(value)
        if verdict is None:
            raise DataError(
                f"{self._place(at)}: '{self._taken.correct}' is {shortened(str(value), 40)}, expected true or false, "
                "0 or 1, correct or wrong, or a list of these"
            )
        reason = f"'{self._taken.correct}' is empty" if verdict == UNGRADED else ""
        return self._more[at]._replace(verdict=verdict, reason=reason)

    def _sample(self, row: Mapping[str, Any], at: int, numbers: _Numbers, problem_id: str) -> int:
        if not self._taken.sample:
            return numbers.next(problem_id)
        value = row.get(self._taken.sample)
        number = whole_number(value)
        if number is not None:
            return number
        if isinstance(value, str) and value.strip():
            return numbers.named(value)
        raise DataError(
            f"{self._place(at)}: the sample '{self._taken.sample}' is {shortened(str(value), 40)}, expected a "
            "number or text"
        )

    def _problem_id(self, row: Mapping[str, Any], at: int) -> str:
        value = row.get(self._taken.id)
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # a column of whole numbers with a gap is read as floats
        if value is None or (isinstance(value, str) and not value.strip()):
            raise DataError(f"{self._place(at)}: the id '{self._taken.id}' is empty")
        try:
            return problem_id_of(value)
        except DataError as error:
            raise DataError(f"{self._place(at)}: {error}") from None

    def _refuse_repeated_list(self, problem_id: str, at: int, lists: dict[str, int]) -> None:
        if self.choices.sample is not None:
            raise ConfigError(
                f"--sample: {self._place(at)} holds a list of verdicts, '{self._taken.correct}': its order is "
                "the sample number"
            )
        first = lists.setdefault(problem_id, at)
        if first != at:
            raise DataError(f"duplicate problem {problem_id!r} ({self._place(first)} and {self._place(at)})")

    def _refuse_mixed_zeros(self) -> None:
        """Refuses a column with -1 and 0: one of them must mean something else than wrong."""
        lows: dict[int, int] = {}
        for at, row in enumerate(self._rows):
            value = row.get(self._taken.correct)
            for one in list_in(value) or [value]:
                if verdict_of(one) == WRONG and not isinstance(one, bool) and str(one).strip() in _LOW:
                    lows.setdefault(_LOW[str(one).strip()], at)
        if len(lows) > 1:
            raise DataError(
                f"'{self._taken.correct}' is 0 in {self._place(lows[0])} and -1 in {self._place(lows[-1])}: it must be "
                "0 or 1 throughout, or -1 or 1"
            )

    def _note_counts(self) -> None:
        seen: dict[str, int] = {}
        for at, row in enumerate(self._rows):
            problem_id = self._problem_id(row, at)
            if problem_id in seen:
                raise DataError(
                    f"duplicate problem {problem_id!r} ({self._place(seen[problem_id])} and {self._place(at)})"
                )
            seen[problem_id] = at
            n, c = (self._number(row, name, at) for name in (self._taken.total, self._taken.correct))
            if c > n:
                raise DataError(
                    f"{self._place(at)}: {self._taken.correct} = {c} is larger than {self._taken.total} = {n}"
                )
            self.counts.append(CountRow(problem_id, n, c, self._more[at].line))

    def _number(self, row: Mapping[str, Any], name: str, at: int) -> int:
        number = whole_number(row.get(name))
        if number is None:
            raise DataError(f"{self._place(at)}: {name} must be a whole number >= 0, got {row.get(name, '')!r}")
        return number

    def _place(self, at: int) -> str:
        return f"{self.place} {self._more[at].line}"


_LOW = {"0": 0, "0.0": 0, "-1": -1, "-1.0": -1}


class _Numbers:
    """Sample numbers for rows that have none, by order, or that have a text, by its first appearance."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        self._named: dict[str, int] = {}

    def next(self, problem_id: str) -> int:
        """Returns 0, 1, 2, ... for the rows of a problem."""
        number = self._next.get(problem_id, 0)
        self._next[problem_id] = number + 1
        return number

    def named(self, text: str) -> int:
        """Returns the same number for the same text."""
        return self._named.setdefault(text, len(self._named))


def _digests(value: object) -> list[int | None] | int | None:
    if isinstance(value, str):
        return hash(value)
    return [hash(one) if isinstance(one, str) else None for one in value] if isinstance(value, list) else None


def _aligned(value: Any, count: int) -> list[Any]:
    """Returns a value per verdict: a list of that length, a single value for one verdict, else nothing known."""
    if isinstance(value, list):
        return value if len(value) == count else [None] * count
    return [value] if count == 1 else [None] * count
