"""Files of other tools are read at the first try, and their Pass@k is that of an independent reading, exactly."""

from __future__ import annotations

import ast
import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from math import comb
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from ngrpo.errors import DataError
from ngrpo.evaluation.samples.counts import read_counts
from ngrpo.evaluation.samples.entry import NO_CHOICES, Choices
from ngrpo.evaluation.statistics.pass_at_k import pass_at_k_curve

DATA = Path(__file__).parents[2] / "data" / "tables"
Verdicts = Iterable[tuple[str, bool]]
"""The id of the problem and the verdict of each completion."""


def inspect_samples(name: str) -> Iterator[Any]:
    if name.endswith(".gz"):
        yield from json.loads(gzip.decompress((DATA / name).read_bytes()))["samples"]
        return
    content = (DATA / name).read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as log:
        for info in log.infolist():
            if info.filename.startswith("samples/"):
                assert info.compress_type == 93  # zstd, which zipfile does not know before Python 3.14
                start = info.header_offset + 30 + len(info.filename.encode())
                packed = content[start : start + info.compress_size]
                yield json.loads(pyarrow.CompressedInputStream(pyarrow.BufferReader(packed), "zstd").read())


def by_scorer(name: str, scorer: str, key: str | None = None) -> Verdicts:
    for sample in inspect_samples(name):
        value = sample["scores"][scorer]["value"]
        yield sample["id"], (value if key is None else value[key]) in ("C", 1)


def lines(name: str) -> list[Any]:
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


def document(name: str) -> Any:
    return json.loads((DATA / name).read_text())


def evalplus(statuses: tuple[str, ...]) -> Verdicts:
    for task, solutions in document("evalplus_eval_results.json")["eval"].items():
        yield from ((task, all(one[status] == "pass" for status in statuses)) for one in solutions)


def lighteval(name: str) -> Verdicts:
    for row in pyarrow.parquet.read_table(DATA / name).to_pylist():
        for text in row["model_response"]["text"]:
            yield f"{row['doc']['task_name']}:{row['doc']['id']}", text.split()[-1] == row["doc"]["choices"][0]


def pandas_rows() -> Verdicts:
    for row in csv.DictReader((DATA / "pandas.csv").read_text().splitlines()):
        yield row["question_id"], row["is_correct"] == "True"


FILES: list[tuple[str, Choices, Callable[[], Verdicts]]] = [
    ("inspect_epochs.eval", NO_CHOICES, lambda: by_scorer("inspect_epochs.eval", "match")),
    ("inspect_two_scorers.eval", Choices("includes"), lambda: by_scorer("inspect_two_scorers.eval", "includes")),
    ("inspect_partial.json.gz", NO_CHOICES, lambda: by_scorer("inspect_partial.json.gz", "partial")),
    (
        "inspect_named_values.eval",
        Choices("table.right"),
        lambda: by_scorer("inspect_named_values.eval", "table", "right"),
    ),
    ("human_eval.jsonl", NO_CHOICES, lambda: ((r["task_id"], r["passed"]) for r in lines("human_eval.jsonl"))),
    ("evalplus_eval_results.json", NO_CHOICES, lambda: evalplus(("base_status", "plus_status"))),
    ("evalplus_eval_results.json", Choices("base"), lambda: evalplus(("base_status",))),
    (
        "livecodebench_eval_all.json",
        NO_CHOICES,
        lambda: ((r["question_id"], v) for r in document("livecodebench_eval_all.json") for v in r["graded_list"]),
    ),
    (
        "lm_eval_samples.jsonl",
        NO_CHOICES,
        lambda: ((str(r["doc_id"]), v == 1.0) for r in lines("lm_eval_samples.jsonl") for v in r["each"]),
    ),
    ("lighteval_details_four.parquet", NO_CHOICES, lambda: lighteval("lighteval_details_four.parquet")),
    ("lighteval_details_one.parquet", NO_CHOICES, lambda: lighteval("lighteval_details_one.parquet")),
    ("pandas.csv", NO_CHOICES, pandas_rows),
    ("pandas.tsv.gz", NO_CHOICES, pandas_rows),
    ("pandas_columns.json", NO_CHOICES, pandas_rows),
    ("pandas_records.json", Choices(id="Frage", sample="Versuch", correct="richtig"), pandas_rows),
    ("pandas_nested.parquet", Choices(correct="grading.accuracy"), pandas_rows),
    (
        "pandas_lists.csv",
        NO_CHOICES,
        lambda: (
            (r["question_id"], v)
            for r in csv.DictReader((DATA / "pandas_lists.csv").read_text().splitlines())
            for v in ast.literal_eval(r["passed"])
        ),
    ),
]


def exact(verdicts: Verdicts, k: int) -> Fraction:
    problems: dict[str, list[bool]] = {}
    for problem, verdict in verdicts:
        problems.setdefault(problem, []).append(verdict)
    shares = [1 - Fraction(comb(len(own) - sum(own), k), comb(len(own), k)) for own in problems.values()]
    return sum(shares, Fraction(0)) / len(shares)


@pytest.mark.parametrize(("name", "choices", "verdicts"), FILES, ids=[f"{n}-{c.metric}" for n, c, _ in FILES])
def test_pass_at_k_is_that_of_an_independent_reading(
    name: str, choices: Choices, verdicts: Callable[[], Verdicts]
) -> None:
    counts = read_counts(DATA / name, choices)
    listed = list(verdicts())
    assert set(counts.problem_ids) == {problem for problem, _ in listed}
    assert int(counts.n.sum()) == len(listed)
    ks = [k for k in (1, 2, 3, 4) if k <= counts.n.min()]
    found = pass_at_k_curve(counts.n, counts.c, ks)
    for k in ks:
        assert found[k] == pytest.approx(float(exact(listed, k)), abs=1e-14)
    assert 0 < found[1] < 1


READINGS = {
    "inspect_epochs.eval": "inspect_ai, scorer 'match'",
    "inspect_partial.json.gz": "inspect_ai, scorer 'partial', 6 partial scores (P) count as wrong",
    "evalplus_eval_results.json": "evalplus, correct by base and extra tests (--metric base: base tests alone)",
    "human_eval.jsonl": "columns: id 'task_id', sample by order, correct 'passed'",
    "livecodebench_eval_all.json": "columns: id 'question_id', sample by order, correct 'graded_list'",
    "lighteval_details_four.parquet": "lighteval, metric 'avg@n:n=4'",
    "pandas.csv": "columns: id 'question_id', sample 'rollout_id', correct 'is_correct'",
}


@pytest.mark.parametrize(("name", "reading"), READINGS.items(), ids=READINGS)
def test_what_was_read_is_named(name: str, reading: str) -> None:
    assert read_counts(DATA / name).reading == reading


HINTS: Mapping[str, str] = {
    "inspect_two_scorers.eval": "holds several scorers, match, includes: choose one with --metric",
    "inspect_header.json": "holds the header of an inspect_ai log, without samples: give the .eval file",
    "lm_eval_results.json": "aggregated results of lm-evaluation-harness.*--log_samples",
    "lighteval_results.json": "aggregated results of lighteval.*--save-details",
    "livecodebench_eval.json": r"aggregated results of LiveCodeBench: give \*_eval_all.json",
    "livecodebench_ungraded.json": "completions of LiveCodeBench without verdicts: run it with --evaluate",
    "human_eval_ungraded.jsonl": "completions without verdicts: .*evaluate_functional_correctness",
}


@pytest.mark.parametrize(("name", "hint"), HINTS.items(), ids=HINTS)
def test_files_without_verdicts_are_named_with_the_remedy(name: str, hint: str) -> None:
    with pytest.raises(DataError, match=hint) as caught:
        read_counts(DATA / name)
    assert "\n" not in str(caught.value)


def test_a_damaged_log_of_inspect_is_an_error(tmp_path: Path) -> None:
    content = bytearray((DATA / "inspect_epochs.eval").read_bytes())
    for at in (3000, len(content) - 10):
        path = tmp_path / "log.eval"
        path.write_bytes(content[:at])
        with pytest.raises(DataError, match=r"is a damaged log of inspect_ai"):
            read_counts(path)
    content[2500] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"is a damaged log of inspect_ai"):
        read_counts(path)


def test_epochs_of_inspect_have_targets_and_texts() -> None:
    counts = read_counts(DATA / "inspect_epochs.eval")
    assert counts.identities[:2] == ((("target", "0"),), (("target", "2"),))
    texts = {(s["id"], s["output"]["completion"]) for s in inspect_samples("inspect_epochs.eval")}
    assert counts.facts is not None
    assert int(counts.facts.identical.hits.sum()) == 20 - len(texts)
