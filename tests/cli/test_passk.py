"""`ngrpo passk` prints what the reference printed, as a table for people and as JSON for programs."""

import json
import re
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from ngrpo.cli.passk import passk
from ngrpo.errors import ConfigError, DataError

COUNTS = Path(__file__).parents[1] / "data" / "conformance" / "samples_counts.csv"

app = typer.Typer()
app.command()(passk)


def run(*arguments: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, list(map(str, arguments)))


def test_the_table_has_the_numbers_of_the_reference_in_percent() -> None:
    result = run(COUNTS)
    assert result.exit_code == 0, result.output
    for number in ["47.96", "27.42", "34.12", "40.67", "47.42", "54.40", "62.45", "70.00"]:
        assert f" {number} [" in result.output
    assert "1 to 64" in result.output
    assert "ungraded" not in result.output


def test_json_is_one_object_of_shares() -> None:
    summary = json.loads(run(COUNTS, "--json").stdout)
    assert (summary["problems"], summary["samples"], summary["ungraded"]) == (20, 1280, 0)
    assert list(summary["pass_at_k"]) == ["1", "2", "4", "8", "16", "32", "64"]
    assert summary["pass_at_k"]["64"] == 0.7
    assert summary["auc"] == pytest.approx(0.4796, abs=5e-5)


def test_several_files_stand_side_by_side(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("problem_id,n,c\np,2,1\n")
    objects = json.loads(run(COUNTS, other, "--json").stdout)
    assert list(objects["files"]) == [str(COUNTS), str(other)]
    assert objects["files"][str(other)]["pass_at_k"] == {"1": 0.5, "2": 1.0}
    table = run(COUNTS, other).output
    assert "Pass@64" in table
    assert "—" in table


def test_chosen_ks_only() -> None:
    summary = json.loads(run(COUNTS, "--k", "8,1", "--json").stdout)
    assert list(summary["pass_at_k"]) == ["1", "8"]
    assert summary["auc"] == pytest.approx(0.4796, abs=5e-5)


def test_ungraded_samples_are_said(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    rows = [("p", 0, "correct"), ("p", 1, "ungraded"), ("q", 0, "ungraded"), ("q", 1, "ungraded")]
    path.write_text("".join(json.dumps({"problem_id": p, "sample": i, "status": s}) + "\n" for p, i, s in rows))
    result = run(path)
    assert result.exit_code == 0
    assert f"{path}: 3 ungraded samples are left out; problems without any graded one: 1" in result.output
    assert " 100.00 [—]" in result.output
    assert "no intervals: they need at least two problems" in result.output
    wrong = run(path, "--ungraded", "wrong")
    assert f"{path}: 3 ungraded samples count as wrong" in wrong.output
    assert " 25.00 [" in wrong.output
    assert json.loads(run(path, "--ungraded", "wrong", "--json").stdout)["ungraded_as"] == "wrong"


def test_intervals_stand_beside_the_numbers() -> None:
    summary = json.loads(run(COUNTS, "--json").stdout)
    low, high = summary["pass_at_k_interval"]["1"]
    assert f"27.42 [{100 * low:.1f}, {100 * high:.1f}]" in run(COUNTS).output
    assert low < summary["pass_at_k"]["1"] < high
    assert summary["auc_interval"][0] < summary["auc"] < summary["auc_interval"][1]


def test_the_reader_is_cautioned(tmp_path: Path) -> None:
    cautions = ["only 20 problems", "Pass@64 from 64 samples per problem is noisy", "one training seed"]
    output, notes = run(COUNTS).output, json.loads(run(COUNTS, "--json").stdout)["notes"]
    assert len(notes) == 3
    for caution, note in zip(cautions, notes, strict=True):
        assert note.startswith(caution)
        assert note in output
    assert not any("hangs" in note for note in json.loads(run(COUNTS, "--k", "1,32", "--json").stdout)["notes"])
    large = tmp_path / "large.csv"
    large.write_text("problem_id,n,c\n" + "".join(f"{i},64,{i % 64}\n" for i in range(200)))
    both = run(COUNTS, large).output
    assert f"{COUNTS}: only 20 problems" in both
    assert "\none training seed" in both


def test_markdown_rows() -> None:
    lines = run(COUNTS, "--k", "1,8", "--format", "markdown").output.splitlines()
    assert lines[:2] == ["|  | Pass@1 | Pass@8 | AUC |", "|---|---:|---:|---:|"]
    assert re.fullmatch(r"\| .*samples\\_counts.csv \| 27.4 \[.*\] \| 47.4 \[.*\] \| 48.0 \[.*\] \|", lines[2])
    assert lines[3] == ""
    assert lines[4].startswith("- only 20 problems")


def test_latex_rows_are_escaped(tmp_path: Path) -> None:
    path = tmp_path / "a_b & 50%.csv"
    path.write_text("problem_id,n,c\np,2,1\nq,2,2\n")
    output = run(path, "--format", "latex").output
    assert re.search(
        r"a\\_b \\& 50\\%.csv & 75.0 \{\\scriptsize \[\d+.\d, \d+.\d\]\} & 100.0 \{\\scriptsize \[", output
    )
    assert "\n% only 2 problems" in output
    assert all(line.startswith("%") for line in output.partition(r"\end{tabular}")[2].splitlines() if line)


def test_seeds_are_one_method(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text(COUNTS.read_text().replace(",64,0", ",64,1"))
    found = json.loads(run(COUNTS, other, "--seeds", "--json").stdout)
    each = [file["pass_at_k"]["64"] for file in found["files"].values()]
    assert each == [0.7, 1.0]
    assert found["pass_at_k"]["64"] == pytest.approx(0.85)
    assert found["seeds"] == 2
    assert not any("seed" in note for note in found["notes"])
    output = run(COUNTS, other, "--seeds").output
    assert "mean of 2 seeds" in output
    assert " 85.00 [" in output
    assert " 70.00 │" in output
    assert any("one training seed" in note for note in json.loads(run(COUNTS, "--seeds", "--json").stdout)["notes"])


@pytest.mark.parametrize("options", [(), ("--seeds",), ("--json",)])
def test_the_chart_is_written(options: tuple[str, ...], tmp_path: Path) -> None:
    other, chart = tmp_path / "other.csv", tmp_path / "chart.json"
    other.write_text(COUNTS.read_text().replace(",64,0", ",64,1"))
    result = run(COUNTS, other, "--chart", chart, *options)
    assert result.exit_code == 0
    spec = json.loads(chart.read_text())
    assert json.dumps(spec).count('"type": "area"') == (1 if "--seeds" in options else 2)
    assert f"wrote {chart}" in (result.stderr if "--json" in options else result.stdout)
    if "--json" in options:
        json.loads(result.stdout)


def test_a_run_and_an_evaluation_are_taken_like_files(tmp_path: Path) -> None:
    run_folder = tmp_path / "run"
    for step, correct in ((5, 0), (50, 1)):
        folder = run_folder / "eval" / f"{step:06d}" / "countdown"
        folder.mkdir(parents=True)
        rows = [("p", 0, "correct" if correct else "wrong"), ("p", 1, "wrong")]
        lines = [json.dumps({"problem_id": p, "sample": i, "status": s}) for p, i, s in rows]
        (folder / "samples.jsonl").write_text("\n".join(lines) + "\n")
        (folder / "summary.json").write_text("{}")
    (run_folder / "config.json").write_text("{}")
    assert json.loads(run(run_folder, "--json").stdout)["pass_at_k"]["1"] == 0.5
    early = run_folder / "eval" / "000005" / "countdown"
    assert json.loads(run(early, "--json").stdout)["pass_at_k"]["1"] == 0.0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["missing.jsonl"], DataError, "cannot read missing.jsonl: No such file"),
        ([COUNTS, "--k", "1,two"], ConfigError, "--k takes whole numbers and commas"),
        ([COUNTS, "--k", ""], ConfigError, "--k takes whole numbers"),
        (
            [COUNTS, "--k", "65"],
            ConfigError,
            "samples_counts.csv: Pass@65 needs 65 graded samples, but problem '0' has 64",
        ),
        ([COUNTS, "--k", "0"], ConfigError, "k must be a whole number >= 1"),
        ([COUNTS, "--chart", "c.pdf"], ConfigError, "c.pdf: a chart's file ends in .png"),
        ([COUNTS, COUNTS], ConfigError, "samples_counts.csv is given twice"),
    ],
)
def test_wrong_input_is_one_line(arguments: list[str | Path], error: type[Exception], message: str) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert result.stdout == ""


def test_a_majority_vote_is_added_to_every_output(tmp_path: Path) -> None:
    """Of p the answer 7 wins with two of three votes, of q a wrong one."""
    rows = [("p", "7", "correct"), ("p", "7", "correct"), ("p", "1", "wrong")]
    rows += [("q", "2", "wrong"), ("q", "2", "wrong"), ("q", "3", "correct")]
    path = tmp_path / "s.jsonl"
    path.write_text(
        "".join(
            json.dumps({"problem_id": p, "sample": i % 3, "answer": answer, "status": status}) + "\n"
            for i, (p, answer, status) in enumerate(rows)
        )
    )
    numbers = json.loads(run(path, "--majority", "--k", "1,3", "--json").stdout)
    assert numbers["maj_at_k"] == {"1": pytest.approx(0.5), "3": 0.5}
    assert "maj@3" in run(path, "--majority", "--k", "1,3").stdout
    assert "| Pass@1 | Pass@3 | AUC | maj@1 | maj@3 |" in run(
        path, "--majority", "--k", "1,3", "--format", "markdown"
    ).stdout.replace("  ", " ")
    assert "maj@" not in run(path, "--k", "1,3").stdout


def test_metric_and_filter_of_a_harness_log_are_chosen(tmp_path: Path) -> None:
    lines = [
        {
            "doc_id": i,
            "target": "1",
            "resps": [["1"]],
            "filtered_resps": ["1"],
            "filter": name,
            "metrics": ["em", "acc"],
        }
        | {"em": float(i), "acc": 1.0}
        for name in ("strict", "flexible")
        for i in (0, 1)
    ]
    path = tmp_path / "samples_gsm8k.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    chosen = ("--metric", "em", "--filter", "strict", "--json")
    assert json.loads(run(path, *chosen).stdout)["pass_at_k"] == {"1": 0.5}
    failed = run(path, "--metric", "em")
    assert isinstance(failed.exception, ConfigError | DataError)
    assert "--filter" in str(failed.exception)


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """Six problems of two levels and three templates, with texts, answers and references; p0 has a split verdict."""
    path = tmp_path / "described.jsonl"
    rows = [
        {"problem_id": f"p{i}", "sample": j, "status": "correct" if j < i % 4 else "wrong", "answer": "7" if j else "8"}
        | {"reference": str(i), "completion": f"{j // 2}", "finish_reason": "length" if j == 3 else "stop"}
        | {"level": 1 + i % 2, "template": f"t{i // 2}"}
        for i in range(6)
        for j in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_what_else_the_file_tells_is_in_every_output(described: Path) -> None:
    found = json.loads(run(described, "--json").stdout)
    assert (found["identical"], found["truncated"], found["no_answer"]) == (0.5, 0.25, 0.0)
    assert any(note.startswith("50 % of completions repeat another") for note in found["notes"])
    table = run(described).output
    assert re.search(r"identical completions .* 50.00", table)
    assert re.search(r"truncated .* 25.00", table)
    assert "50.0 % identical completions, 25.0 % truncated, 0.0 % without an answer" in run(
        described, "--format", "markdown"
    ).output.replace("\n", " ")


def test_tables_by_column_and_intervals_by_cluster(described: Path, tmp_path: Path) -> None:
    found = json.loads(run(described, "--by", "level", "--cluster", "template", "--json").stdout)
    assert found["clusters"] == 3
    assert {name: group["problems"] for name, group in found["groups"].items()} == {"level 1": 3, "level 2": 3}
    assert found["groups"]["level 2"]["pass_at_k"]["1"] == pytest.approx((1 + 3 + 1) / 12)
    plain = json.loads(run(described, "--json").stdout)
    assert plain["clusters"] is None
    assert found["pass_at_k_interval"]["1"] != plain["pass_at_k_interval"]["1"]
    assert "only 3 clusters" in run(described, "--cluster", "template").output
    for arguments in ([], ["--format", "latex"], ["--format", "markdown"], ["--seeds"]):
        assert "level 2" in run(described, "--by", "level", *arguments).output
    problems = tmp_path / "problems.csv"
    problems.write_text("id,source\n" + "".join(f"p{i},{'aime' if i < 1 else 'amc'}\n" for i in range(6)))
    by_source = run(described, "--by", "source", "--problems", problems, "--format", "latex").output
    assert r"source aime & 0.0 {\scriptsize [--]}" in by_source
    failed = run(described, "--by", "source")
    assert "has no 'source'" in str(failed.exception)
    assert isinstance(run(described, "--problems", problems).exception, ConfigError)


def test_majority_has_intervals_and_reports_split_verdicts(described: Path) -> None:
    found = json.loads(run(described, "--majority", "--json", "--cluster", "template").stdout)
    assert found["maj_at_k_exact"] is True
    low, high = found["maj_at_k_interval"]["2"]
    assert low < found["maj_at_k"]["2"] < high
    assert (
        f"{described}: answer '7' of problem 'p2' was marked correct 1 times and wrong 2 times and 1 more answers: "
        "such votes are split" in found["notes"]
    )


def test_only_common_problems_side_by_side(described: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    lines = described.read_text().splitlines()
    other.write_text("\n".join(lines[4:]).replace('"reference": "5"', '"reference": "6"') + "\n")
    found = json.loads(run(described, other, "--only-common", "--json").stdout)
    assert {file["problems"] for file in found["files"].values()} == {4}
    assert f"{described}: 1 of 6 problems left out, not in all files" in found["notes"]
    assert "1 problems left out, with other references, targets or digests" in found["notes"]
    refused = run(described, other, "--seeds")
    assert "problem 'p0' is in" in str(refused.exception)
    assert "--only-common" in str(refused.exception)


def test_no_output_holds_nan(tmp_path: Path) -> None:
    path = tmp_path / "ceiling.csv"
    path.write_text("problem_id,n,c\np,128,128\nq,128,40\n")
    assert "nan" not in run(path, "--k", "64", "--json").stdout.lower()
    assert "[nan" not in run(path, "--k", "64", "--format", "latex").stdout


def test_uneven_problems_have_their_own_estimates(tmp_path: Path) -> None:
    path = tmp_path / "uneven.csv"
    path.write_text("problem_id,n,c\na,2,1\nb,5,2\n")
    with pytest.raises(DataError, match="Pass@k over problems needs the same number for each, or --uneven"):
        CliRunner().invoke(app, [str(path)], catch_exceptions=False)
    summary = json.loads(run(path, "--uneven", "--json").stdout)
    # 1 - C(3, 2) / C(5, 2) = 7/10 for b
    assert summary["pass_at_k"] == {"1": pytest.approx((1 / 2 + 2 / 5) / 2), "2": pytest.approx((1 + 7 / 10) / 2)}
    assert (summary["samples"], summary["samples_per_problem"], summary["most_samples_per_problem"]) == (7, 2, 5)
    shown = run(path, "--uneven").output
    assert "2 to 5 samples per problem, so k is at most 2" in shown
    with pytest.raises(ConfigError, match="Pass@3 needs 3 graded samples, but problem 'a' has 2"):
        CliRunner().invoke(app, [str(path), "--uneven", "--k", "3"], catch_exceptions=False)


def test_named_columns_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps([{"frage": "p", "lauf": i, "gut": {"ja": i % 2}} for i in range(4)]))
    result = run(path, "--id", "frage", "--sample", "lauf", "--correct", "gut.ja")
    assert result.exit_code == 0, result.output
    assert f"{path}: columns: id 'frage', sample 'lauf', correct 'gut.ja'" in result.output
    assert " 50.00 [—]" in result.output
    with pytest.raises(ConfigError, match="--id must be the name of a column"):
        CliRunner().invoke(app, [str(path), "--id", ""], catch_exceptions=False)
