"""`ngrpo compare`: what it prints is what the library says, and wrong input is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ngrpo.evaluation.samples.counts import read_counts
from ngrpo.evaluation.statistics.comparison import compare
from ngrpo.evaluation.statistics.matching import SamplesFile

COUNTS = Path(__file__).parents[1] / "data" / "conformance" / "samples_counts.csv"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    text = COUNTS.read_text()
    (tmp_path / "a.csv").write_text(text)
    (tmp_path / "b.csv").write_text(text.replace(",64,0", ",64,1").replace(",64,4", ",64,3"))
    (tmp_path / "c.csv").write_text(text.replace(",64,1", ",64,2"))
    (tmp_path / "short.csv").write_text(text.replace(",64,0", ",8,0").replace(",64,", ",8,"))
    return tmp_path


def test_two_files(run: Any, folder: Path) -> None:
    a, b = (SamplesFile(name, read_counts(name)) for name in ("a.csv", "b.csv"))
    expected = compare([a], [b])
    found = json.loads(run("compare", "a.csv", "b.csv", "--json").out)
    assert found["pass_at_k"]["64"] == json.loads(json.dumps(expected.pass_at_k[64].to_json()))
    unknown = {"identical": None, "truncated": None, "no_answer": None}
    assert found["a"] == {"files": ["a.csv"], "samples_per_problem": [64], "ungraded": 0, **unknown}
    shown = run("compare", "a.csv", "b.csv").out
    difference = expected.pass_at_k[64]
    low, high = (f"{100 * end:.1f}" for end in difference.interval)
    row = next(line for line in shown.splitlines() if "Pass@64" in line and "│" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["Pass@64", "70.00", "100.00", f"-30.00 [{low}, {high}]", f"{difference.p_value:.3f}"]
    assert "AUC over k = 1 to 64" in shown
    assert "20 problems, paired" in shown
    assert all(note in shown for note in expected.notes)


def test_a_file_against_itself(run: Any, folder: Path) -> None:
    found = json.loads(run("compare", "a.csv", "a.csv", "--k", "1", "--json").out)
    assert list(found["pass_at_k"]) == ["1"]
    assert found["pass_at_k"]["1"]["difference"] == 0.0
    assert found["pass_at_k"]["1"]["p_value"] == 1.0


def test_seeds_of_both(run: Any, folder: Path) -> None:
    arguments = ("compare", "a.csv", "c.csv", "--against", "b.csv", "--against", "short.csv")
    (folder / "short.csv").write_text((folder / "a.csv").read_text().replace(",64,3", ",64,5"))
    found = json.loads(run(*arguments, "--json").out)
    assert found["a"]["files"] == ["a.csv", "c.csv"]
    assert found["b"]["files"] == ["b.csv", "short.csv"]
    assert found["auc"]["p_value"] is None
    shown = run(*arguments).out
    assert "A: mean of 2 seeds" in shown
    assert "without a p-value" in shown
    assert " p │" not in shown


@pytest.mark.parametrize(("format_name", "begin"), [("markdown", "| "), ("latex", "% needs")])
def test_tables_for_pages_and_papers(run: Any, folder: Path, format_name: str, begin: str) -> None:
    out = run("compare", "a.csv", "b.csv", "--format", format_name, "--k", "64").out
    assert out.startswith(begin)
    assert "70.0" in out
    assert ("$-$30.0 {\\scriptsize [$-$" if format_name == "latex" else "| -30.0 [-") in out


def test_different_n_is_compared_as_far_as_it_goes(run: Any, folder: Path) -> None:
    rows = [line.split(",") for line in (folder / "a.csv").read_text().split()]
    (folder / "short.csv").write_text("problem_id,n,c\n" + "".join(f"{r[0]},8,{min(8, int(r[2]))}\n" for r in rows[1:]))
    found = json.loads(run("compare", "a.csv", "short.csv", "--json").out)
    assert list(found["pass_at_k"]) == ["1", "2", "4", "8"]
    assert "the files have 8 and 64 samples per problem: compared up to k = 8" in found["notes"][0]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["a.csv"], 2, "compare takes two files, A and B, or files of A and --against for each of B; got 1"),
        (["a.csv", "b.csv", "c.csv"], 2, "got 3 and no --against"),
        (["a.csv", "missing.csv"], 1, "cannot read missing.csv: No such file"),
        (
            ["a.csv", "few.csv"],
            1,
            "is in a.csv but not in few.csv (19 such problems): files are compared problem by problem; --only-common",
        ),
        (["a.csv", "uneven.csv"], 1, "uneven.csv: problem '1' has 3 samples where others have 4"),
        (["a.csv", "a.csv", "--against", "b.csv"], 2, "a.csv is given twice"),
        (["a.csv", "b.csv", "--k", "65"], 2, "a.csv: Pass@65 needs 65 graded samples, but problem '0' has 64"),
        (["a.csv", "b.csv", "--k", "x"], 2, "--k takes whole numbers and commas"),
        (["a.csv", "b.csv", "--ungraded", "no"], 2, "'--ungraded': 'no' is not one of 'excluded', 'wrong'"),
        (["a.csv", "b.csv", "--format", "pdf"], 2, "'--format': 'pdf' is not one of 'table', 'markdown', 'latex'"),
        (["a.csv", "."], 1, ". holds neither samples.jsonl (an evaluation) nor config.json (a run)"),
    ],
)
def test_wrong_input_is_one_line(run: Any, folder: Path, arguments: list[str], status: int, message: str) -> None:
    (folder / "few.csv").write_text("problem_id,n,c\n0,64,1\n")
    (folder / "uneven.csv").write_text("problem_id,n,c\n0,4,1\n1,3,1\n2,4,1\n")
    outcome = run("compare", *arguments)
    assert (outcome.status, outcome.out) == (status, "")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_groups_clusters_and_flips(run: Any, folder: Path) -> None:
    for name, correct in (("x.csv", [4, 0, 2, 1]), ("y.csv", [4, 2, 0, 1])):
        rows = "".join(f"p{i},4,{c},{'aime' if i < 2 else 'amc'},t{i // 2}\n" for i, c in enumerate(correct))
        (folder / name).write_text("problem_id,n,c,source,template\n" + rows)
    options = ("--by", "source", "--cluster", "template", "--list")
    found = json.loads(run("compare", "x.csv", "y.csv", *options, "--json").out)
    assert found["clusters"] == 2
    assert found["groups"]["source aime"]["pass_at_k"]["1"]["difference"] == -0.25
    assert found["groups"]["source aime"]["pass_at_k"]["1"]["interval"] is None
    assert [(flip["problem_id"], flip["kind"]) for flip in found["flips"]] == [
        ("p2", "solved by A only"),
        ("p1", "solved by B only"),
    ]
    shown = run("compare", "x.csv", "y.csv", *options).out
    assert "solved by A only: problem p2, A 2/4, B 0/4" in shown
    assert "source amc, 2 problems" in shown
    assert "intervals over 2 clusters" in shown
    assert "-25.00 [—]" in shown
    assert "no problem flipped" in run("compare", "x.csv", "x.csv", "--list").out
    assert "source amc, 2 problems" in run("compare", "x.csv", "y.csv", "--by", "source", "--format", "latex").out


def test_only_common_problems_are_compared(run: Any, folder: Path) -> None:
    (folder / "few.csv").write_text("problem_id,n,c\n0,64,1\n3,64,2\n99,64,0\n")
    found = json.loads(run("compare", "a.csv", "few.csv", "--only-common", "--json").out)
    assert found["problems"] == 2
    assert found["notes"][:2] == [
        "a.csv: 18 of 20 problems left out, not in all files",
        "few.csv: 1 of 3 problems left out, not in all files",
    ]


def test_uneven_files_are_compared_up_to_the_fewest_samples(run: Any, folder: Path) -> None:
    (folder / "u.csv").write_text("problem_id,n,c\np,2,1\nq,4,1\n")
    (folder / "v.json").write_text('{"p": [1, 1], "q": [0, 0, 0, 1]}')
    assert run("compare", "u.csv", "v.json").status == 1
    found = json.loads(run("compare", "u.csv", "v.json", "--uneven", "--json").out)
    assert found["pass_at_k"]["1"]["difference"] == pytest.approx(((1 / 2 + 1 / 4) - (1 + 1 / 4)) / 2)
    assert list(found["pass_at_k"]) == ["1", "2"]
    assert "u.csv: 2 to 4 samples per problem" in found["notes"]
    assert "v.json: columns: id 'id', sample by order, correct 'correct'" in found["notes"]
