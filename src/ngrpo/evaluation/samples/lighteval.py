"""Details of lighteval, `details_TASK_DATE.parquet`; read in its version 0.13.0."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar

from ngrpo.errors import DataError
from ngrpo.evaluation.samples.entry import CORRECT, UNGRADED, WRONG, CountRow, Entry, Format, JsonRow, identity_of

_MEAN = re.compile(r"avg@|pass@k:(.*&)?k=1(&|$)|pass@1(:|$)")
"""Metrics that are the mean over the samples of a document, from which their number that is correct follows."""
_SAMPLES = re.compile(r"[:&]n=(\d+)(?:&|$)")


class LightevalFormat(Format):
    """A row per document with its metrics; lighteval keeps no verdict per sample.

    With one response the metric is the verdict. With several, the mean over them (`avg@n`, `pass@k` with k = 1) gives
    the number of correct ones; any other aggregate is an error. Documents are named by their id and number.
    """

    name: ClassVar[str] = "details of lighteval"
    answer_key: ClassVar[str] = ""
    choosable: ClassVar[frozenset[str]] = frozenset({"metric"})

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._metric = ""

    @classmethod
    def recognises(cls, row: JsonRow) -> bool:
        """Returns whether a row has `doc`, `metric` and `model_response`."""
        return all(isinstance(row.get(key), dict) for key in ("doc", "metric", "model_response"))

    def read(self, row: JsonRow, line: int) -> Iterable[Entry]:
        """Returns the entry of a document with one response, and notes the counts of one with several."""
        metrics = {name: value for name, value in row["metric"].items() if value is not None}
        if not self._metric:
            self._metric = self._chosen(metrics)
        value, doc = metrics.get(self._metric), row["doc"]
        problem_id = self._problem_id(doc, line)
        responses = row["model_response"].get("text") or []
        named = _SAMPLES.search(self._metric)
        n = int(named[1]) if named else max(1, len(responses))
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise DataError(f"{self._metric} must be a number, got {value!r}")
        if n > 1 or self.counts:
            return self._count(problem_id, n, value, line)
        if value is not None and value not in (0, 1):
            raise DataError(f"{self._metric} {value!r} is neither 0 nor 1: a score, not a verdict")
        verdict = UNGRADED if value is None else CORRECT if value == 1 else WRONG
        text = responses[0] if responses and isinstance(responses[0], str) else None
        identity = identity_of({"target": _gold(doc)}, target="target")
        return [Entry(problem_id, 0, 0, verdict, line, identity=identity, text=None if text is None else hash(text))]

    @property
    def reading(self) -> str:
        """Which metric decides."""
        return f"lighteval, metric {self._metric!r}"

    def _count(self, problem_id: str, n: int, value: float | None, line: int) -> tuple[()]:
        if not _MEAN.match(self._metric):
            raise DataError(
                f"{self._metric} is one value for {n} responses; lighteval keeps no verdict per response, but the "
                f"metrics avg@n:n={n} and pass@k:k=1&n={n} tell how many are correct"
            )
        correct = -1.0 if value is None else value * n
        if not 0 <= round(correct) <= n or abs(correct - round(correct)) > 1e-6:
            raise DataError(f"{self._metric} {value!r} is not a mean of {n} verdicts")
        self.counts.append(CountRow(problem_id, n, round(correct), line))
        return ()

    def _chosen(self, metrics: dict[str, Any]) -> str:
        names, wanted = ", ".join(metrics), self.choices.metric
        if wanted is not None:
            if wanted not in metrics:
                raise DataError(f"has no metric {wanted!r}, found: {names or 'none'}")
            return wanted
        means = [name for name in metrics if _MEAN.match(name)]
        if len(metrics) == 1 or len(means) == 1:
            return means[0] if means else next(iter(metrics))
        if not metrics:
            raise DataError("has no metric")
        raise DataError(f"holds several metrics, {names}: choose one with --metric")

    def _problem_id(self, doc: JsonRow, line: int) -> str:
        name = str(doc.get("id") or line - 1)
        task = doc.get("task_name")
        return f"{task}:{name}" if isinstance(task, str) and task else name


def _gold(doc: JsonRow) -> object:
    choices, index = doc.get("choices"), doc.get("gold_index")
    at = index[0] if isinstance(index, list) and index else index
    return choices[at] if isinstance(choices, list) and isinstance(at, int) and 0 <= at < len(choices) else None
