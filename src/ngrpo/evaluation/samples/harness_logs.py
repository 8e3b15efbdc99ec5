"""Sample logs of lm-evaluation-harness, `samples_TASK_DATE.jsonl`; read in its version 0.4.13."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from ngrpo.errors import DataError
from ngrpo.evaluation.samples.entry import (
    CORRECT,
    NO_CHOICES,
    WRONG,
    Choices,
    Entry,
    Format,
    JsonRow,
    answer_of,
    identity_of,
    problem_id_of,
)


class HarnessFormat(Format):
    """A line per document and filter; a metric is one value, or a list of one per response.

    A file of several filters or metrics needs a choice. One value for several responses is an aggregate (such as
    `maj@64`) or that of one of them: there is nothing to count.
    """

    name: ClassVar[str] = "sample logs of lm-evaluation-harness"
    answer_key: ClassVar[str] = "filtered_resps"
    choosable: ClassVar[frozenset[str]] = frozenset({"metric", "filter_name"})
    KEYS = (
        *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"),
        *("doc_hash", "prompt_hash", "target_hash"),
    )
    """What is no metric, for logs that do not list theirs."""

    def __init__(self, choices: Choices = NO_CHOICES, place: str = "line") -> None:
        super().__init__(choices, place)
        self._metric, self._filter = choices.metric, choices.filter_name
        self._chosen = choices.filter_name
        self._filters: dict[str, None] = {}

    @classmethod
    def recognises(cls, row: JsonRow) -> bool:
        """Returns whether a row has `doc_id` and responses or a filter."""
        return "doc_id" in row and not row.keys().isdisjoint(("filter", "filtered_resps", "resps"))

    def read(self, row: JsonRow, line: int) -> Iterable[Entry]:
        """Returns an entry per response; none for a line of another filter."""
        filter_name = row.get("filter", "none")
        if not isinstance(filter_name, str):
            raise DataError(f"filter must be text, got {filter_name!r}")
        self._filters[filter_name] = None
        if self._chosen is None:
            self._chosen = filter_name
        if filter_name != self._chosen:
            return []
        metric = self._metric_of(row)
        value, responses = row[metric], _first_list(row.get("resps"))
        problem_id = problem_id_of(row["doc_id"])
        if isinstance(value, list):
            if len(value) != len(responses):
                raise DataError(f"{metric} has {len(value)} values for {len(responses)} responses")
            verdicts = [_zero_or_one(each, metric) for each in value]
        else:
            verdicts = [_zero_or_one(value, metric)]
            if len(responses) > 1:
                raise DataError(
                    f"{metric} is one value for {len(responses)} responses: an aggregate, or that of one of them; "
                    "Pass@k needs a value for each"
                )
        answers = self._answers_of(row, len(verdicts))
        identity = identity_of(row, target="target", target_hash="target_hash", doc_hash="doc_hash")
        texts = responses if len(responses) == len(verdicts) else [None] * len(verdicts)
        return [
            Entry(
                problem_id,
                0,
                sample,
                verdict,
                line,
                answer,
                identity=identity,
                text=hash(text) if isinstance(text := texts[sample], str) else None,
                silent=answer is None if self.has_answers else None,
            )
            for sample, (verdict, answer) in enumerate(zip(verdicts, answers, strict=True))
        ]

    def finish(self) -> Iterable[Entry]:
        """Raises DataError for several filters without a choice, and for a choice that is not there."""
        names = ", ".join(self._filters)
        if self._filter is None and len(self._filters) > 1:
            raise DataError(f"holds several filters, {names}: choose one with --filter")
        if self._filter is not None and self._filter not in self._filters:
            raise DataError(f"has no filter {self._filter!r}, found: {names}")
        return ()

    def _metric_of(self, row: JsonRow) -> str:
        listed = row.get("metrics")
        names = listed if isinstance(listed, list) else [key for key in row if key not in self.KEYS]
        names = [name for name in names if isinstance(name, str) and name in row]
        if self._metric is not None:
            if self._metric not in names:
                raise DataError(f"has no metric {self._metric!r}, found: {', '.join(names) or 'none'}")
            return self._metric
        if not names:
            raise DataError("has no metric")
        if len(names) > 1:
            raise DataError(f"holds several metrics, {', '.join(names)}: choose one with --metric")
        return str(names[0])

    def _answers_of(self, row: JsonRow, count: int) -> list[str | None]:
        # Multiple choice has a request per choice, each with a log probability: there is no text to vote with.
        filtered = row.get("filtered_resps")
        if not isinstance(filtered, list) or len(filtered) != 1:
            return [None] * count
        answers = filtered[0] if isinstance(filtered[0], list) else filtered
        if len(answers) != count:
            return [None] * count
        self.has_answers = True
        return [answer_of(answer) for answer in answers]


def _zero_or_one(value: object, metric: str) -> int:
    if value not in (0, 1):
        raise DataError(f"{metric} {value!r} is neither 0 nor 1: an aggregate or a score, not a verdict")
    return WRONG if value == 0 else CORRECT


def _first_list(value: object) -> list[Any]:
    """The responses to the first request of a document; multiple choice has a request per choice, each once."""
    return value[0] if isinstance(value, list) and value and isinstance(value[0], list) else []
