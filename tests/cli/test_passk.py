"""`ngrpo passk` prints what the reference printed, as a table for people and as JSON for programs."""

import json
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
        assert f" {number} " in result.output
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
    assert " 100.00 " in result.output


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
    ],
)
def test_wrong_input_is_one_line(arguments: list[str | Path], error: type[Exception], message: str) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert result.stdout == ""
