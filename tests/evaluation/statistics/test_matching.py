"""Which files are of the same problems, what lines hold beside verdicts, and groups of problems."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ngrpo.errors import DataError
from ngrpo.evaluation.samples import counts as reading
from ngrpo.evaluation.samples.counts import Counts, read_counts
from ngrpo.evaluation.samples.facts import FactShares, fact_shares
from ngrpo.evaluation.samples.problem_labels import chosen_labels, groups_of, labels_of_table, read_labels
from ngrpo.evaluation.statistics.comparison import compare
from ngrpo.evaluation.statistics.flips import Flip, flips
from ngrpo.evaluation.statistics.matching import SamplesFile, common_problems
from ngrpo.evaluation.statistics.sign_flip_test import sign_flip_p_value


def ours(problem_id: str, sample: int, status: str = "wrong", **keys: Any) -> dict[str, Any]:
    return {"problem_id": problem_id, "sample": sample, "status": status, **keys}


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def harness(doc_id: int, target: str, **keys: Any) -> dict[str, Any]:
    row = {"doc_id": doc_id, "target": target, "resps": [["1"]], "filtered_resps": ["1"], "filter": "none"}
    return row | {"metrics": ["em"], "em": 1.0, **keys}


def test_an_id_with_two_references_is_refused(tmp_path: Path) -> None:
    rows = [ours("p", 0, reference="4"), ours("p", 1, reference=" 4 "), ours("p", 2, reference="5")]
    with pytest.raises(DataError, match="line 3: problem 'p' has the reference '5' here and '4' in line 1: an id must"):
        read_counts(written(tmp_path / "s.jsonl", rows))
    theirs = [
        {"question_id": 0, "generation_id": i, "label": True, "gold_answer": gold} for i, gold in enumerate(("1", "2"))
    ]
    with pytest.raises(DataError, match="line 2: problem '0' has the reference '2' here and '1' in line 1"):
        read_counts(written(tmp_path / "r.jsonl", theirs))
    with pytest.raises(DataError, match="problem '0' has the target '6' here and '5' in line 1"):
        read_counts(written(tmp_path / "h.jsonl", [harness(0, "5"), harness(0, "6")]))


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        ("reference", [[ours("p", 0, reference="4")], [ours("p", 0, reference="5")]]),
        ("target", [[harness(0, "4")], [harness(0, "5")]]),
        ("doc_hash", [[harness(0, "4", doc_hash="ab")], [harness(0, "4", doc_hash="cd")]]),
        ("target_hash", [[harness(0, "4", target_hash="ab")], [harness(0, "4", target_hash="cd")]]),
    ],
)
def test_equal_ids_of_two_benchmarks_are_refused(tmp_path: Path, key: str, rows: list[list[dict[str, Any]]]) -> None:
    files = [
        SamplesFile(name, read_counts(written(tmp_path / name, lines))) for name, lines in zip("AB", rows, strict=True)
    ]
    with pytest.raises(DataError, match=rf"has the {key} '\w+' in A and '\w+' in B: two benchmarks, .*--only-common"):
        compare(files[:1], files[1:])
    with pytest.raises(DataError, match="no problem is common to A, B"):
        common_problems(files)


def test_a_file_without_references_is_compared_by_ids(tmp_path: Path) -> None:
    a = read_counts(written(tmp_path / "a", [ours("p", 0, reference="4"), ours("q", 0, reference="5")]))
    b = read_counts(written(tmp_path / "b", [ours("q", 0), ours("p", 0)]))
    csv = Counts(("p", "q"), np.array([1, 1]), np.array([0, 1]), np.array([0, 0]))
    for other in (b, csv):
        assert compare([SamplesFile("a", a)], [SamplesFile("b", other)]).problems == 2


def test_only_common_problems(tmp_path: Path) -> None:
    a = [ours("p", 0, "correct", reference="1"), ours("q", 0, reference="2"), ours("r", 0, reference="3")]
    b = [ours("s", 0), ours("r", 0, reference="4"), ours("p", 0, reference="1")]
    files = [SamplesFile(name, read_counts(written(tmp_path / name, rows))) for name, rows in (("A", a), ("B", b))]
    found = common_problems(files)
    assert [file.counts.problem_ids for file in found.files] == [("p",), ("p",)]
    assert [file.counts.c.tolist() for file in found.files] == [[1], [0]]
    assert found.notes == [
        "A: 1 of 3 problems left out, not in all files",
        "B: 1 of 3 problems left out, not in all files",
        "1 problems left out, with other references, targets or digests",
    ]


@pytest.mark.parametrize("fast", [False, True])
def test_facts_of_completions(tmp_path: Path, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FAST_FROM", 0 if fast else 2**40)
    texts = [("a", "stop"), ("a", "length"), ("b", "stop"), ("", "stop"), ("", None)]
    rows = [
        ours("p", i, "no_answer" if text == "b" else "wrong", completion=text, finish_reason=reason, reference="1")
        for i, (text, reason) in enumerate(texts)
    ]
    refused = [ours("r", i, "ungraded", completion="", finish_reason="refused", reference="3") for i in range(2)]
    rows += [ours("q", i, "ungraded", completion="a", finish_reason="length", reference="2") for i in range(5)]
    found = read_counts(written(tmp_path / "s.jsonl", [*rows, *refused]))
    assert fact_shares([found.facts]) == FactShares(6 / 10, 6 / 9, 1 / 12)
    assert found.identities == tuple((("reference", str(i)),) for i in (1, 2, 3))
    assert fact_shares([found.of(np.array([0])).facts]) == FactShares(2 / 5, 1 / 4, 1 / 5)
    theirs = [
        {"question_id": 0, "generation_id": i, "label": False, "response": "x", "pred_answer": answer}
        for i, answer in enumerate(["1", "", None])
    ]
    assert fact_shares([read_counts(written(tmp_path / "r.jsonl", theirs)).facts]) == FactShares(2 / 3, None, 2 / 3)
    assert fact_shares([None]) == FactShares()


def test_labels_are_found_in_lines_tables_and_csv(tmp_path: Path) -> None:
    lines = written(tmp_path / "s.jsonl", [ours("p", 0, level=3), ours("p", 1, level=3), ours("q", 0, level=1)])
    assert read_labels(lines, "level") == {"p": "3", "q": "1"}
    log = written(tmp_path / "h.jsonl", [harness(7, "1", doc={"level": "Level 5"})])
    assert read_labels(log, "level") == {"7": "Level 5"}
    csv = tmp_path / "c.csv"
    csv.write_text("problem_id,n,c,source\np,2,1,aime\nq,2,0,amc\n")
    assert read_labels(csv, "source") == {"p": "aime", "q": "amc"}
    table = written(tmp_path / "problems.jsonl", [{"id": "p", "metadata": {"kind": "x"}}, {"id": "q", "kind": "y"}])
    assert labels_of_table(table, "kind") == {"p": "x", "q": "y"}
    unnamed = written(tmp_path / "unnamed.jsonl", [{"kind": "x"}, {"kind": "y"}])
    assert labels_of_table(unnamed, "kind") == {"0": "x", "1": "y"}
    assert groups_of({"p": "b", "q": "10", "r": "2", "s": "b"}) == {"2": ["r"], "10": ["q"], "b": ["p", "s"]}


def test_labels_that_lack_or_disagree(tmp_path: Path) -> None:
    path = written(tmp_path / "s.jsonl", [ours("p", 0, level=3), ours("p", 1, level=4)])
    with pytest.raises(DataError, match="problem 'p' has two values of 'level': '3' and '4'"):
        read_labels(path, "level")
    with pytest.raises(DataError, match=r"problem 'p' has no 'source'; a table of problems .* --problems"):
        read_labels(path, "source")
    with pytest.raises(DataError, match="problem 'q' has no 'level'"):
        chosen_labels([{"p": "3"}], ["p", "q"], "level")
    with pytest.raises(DataError, match="problem 'p' has two values"):
        chosen_labels([{"p": "3"}, {"p": "4"}], ["p"], "level")


def counted(name: str, c: list[int], n: int = 8) -> SamplesFile:
    ids = tuple(f"p{i}" for i in range(len(c)))
    return SamplesFile(name, Counts(ids, np.full(len(c), n), np.array(c), np.zeros(len(c), np.int64)))


def test_flips_are_named_with_the_largest_first() -> None:
    found = flips([counted("A", [0, 1, 8, 5, 4, 0, 3])], [counted("B", [2, 0, 8, 4, 4, 7, 0])])
    assert found == [
        Flip("p3", "mostly correct in A only", 5, 8, 4, 8),
        Flip("p6", "solved by A only", 3, 8, 0, 8),
        Flip("p1", "solved by A only", 1, 8, 0, 8),
        Flip("p5", "solved by B only", 0, 8, 7, 8),
        Flip("p0", "solved by B only", 0, 8, 2, 8),
    ]
    seeds = flips([counted("A", [0]), counted("A2", [1])], [counted("B", [0])])
    assert seeds == [Flip("p0", "solved by A only", 1, 16, 0, 8)]


def test_clusters_flip_together() -> None:
    a, b = counted("A", [4, 5, 6, 1]), counted("B", [3, 4, 6, 2])
    clusters = {"p0": "x", "p1": "x", "p2": "y", "p3": "z"}
    found = compare([a], [b], [1], clusters=clusters)
    assert found.pass_at_k[1].p_value == sign_flip_p_value([2 / 8, 0.0, -1 / 8])
    assert found.clusters == 3
    assert compare([a], [b], [1], clusters=dict.fromkeys(clusters, "x")).pass_at_k[1].interval is None
