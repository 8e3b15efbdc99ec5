"""What a study keeps of a finished run: correct completions per problem at each evaluation, and means of metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ngrpo.errors import DataError
from ngrpo.evaluation.samples.counts import read_counts
from ngrpo.evaluation.statistics.pass_at_k import pass_at_k, powers_of_two
from ngrpo.evaluation.statistics.units import Floats
from ngrpo.runs.run_dir import RunDir
from ngrpo.storage import atomic_file, json_line, read_json_object

_TIMES = ("time/", "update/lr")


@dataclass(frozen=True, slots=True)
class EvaluationCounts:
    """Of one evaluation: its step, and by problem the graded completions and how many of them are correct."""

    step: int
    task: str
    problem_ids: tuple[str, ...]
    n: tuple[int, ...]
    c: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CellSummary:
    """One run: who it was, how much it used, its evaluations and the means of its metrics over thirds of its steps.

    `stopped` is the last line of a run that ended early, empty otherwise.
    """

    variant: str
    seed: int
    steps: int
    rollouts: int
    updates: int
    stopped: str
    seconds: float
    evaluations: tuple[EvaluationCounts, ...]
    metrics: Mapping[str, tuple[float, ...]]

    @property
    def trained_evaluations(self) -> tuple[EvaluationCounts, ...]:
        """Those after the first step."""
        return tuple(evaluation for evaluation in self.evaluations if evaluation.step > 0)

    def write(self, path: Path) -> None:
        """Writes the summary as one line of JSON, some kilobytes: equal lists are written once."""
        path.parent.mkdir(parents=True, exist_ok=True)
        first = self.evaluations[0].problem_ids if self.evaluations else ()
        rows = [
            {
                "step": evaluation.step,
                "task": evaluation.task,
                "problem_ids": None if at and evaluation.problem_ids == first else _shortened(evaluation.problem_ids),
                "n": evaluation.n[0] if len(set(evaluation.n)) == 1 else evaluation.n,
                "c": evaluation.c,
            }
            for at, evaluation in enumerate(self.evaluations)
        ]
        with atomic_file(path) as file:
            file.write(json_line({**asdict(self), "evaluations": rows}))


def read_summary(path: Path) -> CellSummary:
    """Returns the summary of a cell.

    Raises:
        DataError: when it cannot be read.
    """
    table = read_json_object(path)
    try:
        rows = table.pop("evaluations")
        first = _problem_ids(rows[0]["problem_ids"]) if rows else ()
        evaluations = tuple(_evaluation_of(row, first) for row in rows)
        metrics = {name: tuple(map(_number, values)) for name, values in table.pop("metrics").items()}
        return CellSummary(evaluations=evaluations, metrics=metrics, **table)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not the summary of a study's run ({type(error).__name__}: {error})") from None


def _evaluation_of(row: Mapping[str, Any], first: tuple[str, ...]) -> EvaluationCounts:
    ids = first if row["problem_ids"] is None else _problem_ids(row["problem_ids"])
    n = (row["n"],) * len(ids) if isinstance(row["n"], int) else tuple(row["n"])
    if not len(ids) == len(n) == len(row["c"]):
        raise TypeError(f"{len(ids)} problems, {len(n)} n and {len(row['c'])} c")
    return EvaluationCounts(row["step"], row["task"], ids, n, tuple(row["c"]))


def _shortened(ids: tuple[str, ...]) -> Any:
    """Returns ids that are a prefix and the numbers from 0 on as that prefix and their count, others as they are."""
    prefix = ids[0][:-1] if ids and ids[0].endswith("0") else ""
    numbered = bool(prefix) and ids == tuple(f"{prefix}{i}" for i in range(len(ids)))
    return {"prefix": prefix, "count": len(ids)} if numbered else ids


def _problem_ids(written: Any) -> tuple[str, ...]:
    if isinstance(written, Mapping):
        return tuple(f"{written['prefix']}{i}" for i in range(written["count"]))
    return tuple(written)


def summary_of(run: RunDir, variant: str, seed: int, *, stopped: str, seconds: float) -> CellSummary:
    """Returns the summary of a run that has ended.

    Args:
        run: its folder.
        variant: its variant.
        seed: its seed.
        stopped: why it ended early, empty where it did not.
        seconds: how long it took.
    """
    lines = run.read_metrics()
    last = lines[-1] if lines else {}
    return CellSummary(
        variant=variant,
        seed=seed,
        steps=len(lines),
        rollouts=int(last.get("total/rollouts_sampled", 0)),
        updates=int(last.get("total/updates", 0)),
        stopped=stopped,
        seconds=round(seconds, 1),
        evaluations=tuple(_evaluations(run)),
        metrics=_thirds(lines),
    )


def values_of(evaluations: Sequence[EvaluationCounts]) -> tuple[list[int], Floats]:
    """Returns the ks, and [problems, ks] Pass@k of each problem, the mean over evaluations of the same problems.

    Raises:
        DataError: when the evaluations differ in problems.
    """
    ks = powers_of_two(min(min(evaluation.n) for evaluation in evaluations))
    tables = []
    for evaluation in evaluations:
        if evaluation.problem_ids != evaluations[0].problem_ids:
            raise DataError(f"evaluations of steps {evaluations[0].step} and {evaluation.step} differ in problems")
        tables.append(np.stack([pass_at_k(evaluation.n, evaluation.c, k) for k in ks], axis=1))
    return ks, np.mean(tables, axis=0)


def _evaluations(run: RunDir) -> list[EvaluationCounts]:
    found = []
    for summary in run.read_summaries():
        counts = read_counts(run.evaluation_dir(summary.step, summary.task) / "samples.jsonl")
        found.append(
            EvaluationCounts(
                summary.step,
                summary.task,
                tuple(counts.problem_ids),
                tuple(counts.n.tolist()),
                tuple(counts.c.tolist()),
            )
        )
    return found


def _thirds(lines: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, ...]]:
    if not lines:
        return {}
    names = [name for name, value in lines[0].items() if isinstance(value, int | float) and name != "step"]
    parts = [part for part in np.array_split(np.arange(len(lines)), 3) if len(part)]
    return {
        name: tuple(round(mean_of([_number(lines[i].get(name)) for i in part]), 6) for part in parts)
        for name in names
        if not name.startswith(_TIMES)
    }


def mean_of(values: Sequence[float]) -> float:
    """Returns the mean of the values that are numbers: a step without a trained row has fewer metrics; NaN for none."""
    finite = [value for value in values if not np.isnan(value)]
    return float(np.mean(finite)) if finite else float("nan")


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
