"""`ngrpo advantages` reproduces the published table and shows no number where there is no completion."""

import json
import math
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from ngrpo.cli.advantage_rows import gradient_weights, group_advantages, method_notes
from ngrpo.cli.advantages import SUCCESS_RATES, advantage_rows, advantages
from ngrpo.errors import ConfigError
from ngrpo.methods import METHODS, Method

app = typer.Typer()
app.command()(advantages)

# c: advantage of a correct and of a wrong completion, G = 8, sample deviation; three decimals.
GRPO = {
    0: (None, 0.0),
    1: (2.475, -0.354),
    2: (1.620, -0.540),
    4: (0.935, -0.935),
    6: (0.540, -1.620),
    7: (0.354, -2.475),
    8: (0.0, None),
}
NGRPO = {
    0: (None, -0.333),
    1: (1.764, -0.504),
    2: (1.333, -0.667),
    4: (0.843, -1.054),
    6: (0.504, -1.764),
    7: (0.333, -2.667),
    8: (0.0, None),
}
TWO_VIRTUAL = {
    0: (None, -0.474),
    1: (1.449, -0.621),
    2: (1.162, -0.775),
    4: (0.775, -1.162),
    6: (0.474, -1.897),
    7: (0.316, -2.846),
    8: (0.0, None),
}
FOUR_VIRTUAL = {
    0: (None, -0.677),
    1: (1.133, -0.809),
    2: (0.957, -0.957),
    4: (0.677, -1.354),
    6: (0.428, -2.141),
    7: (0.289, -3.175),
    8: (0.0, None),
}
NGRPO_SUM = {0: -2.67, 1: -1.76, 2: -1.33, 4: -0.84, 6: -0.50, 7: -0.33, 8: 0.0}


def run(*arguments: str, columns: int = 80) -> Result:
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(app, list(arguments))


def table(*arguments: str) -> dict[str, Any]:
    result = run("--json", *arguments)
    assert result.exit_code == 0, result.output
    parsed: dict[str, Any] = json.loads(result.stdout)
    return parsed


def points(spec: Any) -> list[Any]:
    if isinstance(spec, dict):
        return [point for key, value in spec.items() for point in (value if key == "values" else points(value))]
    return [point for value in spec for point in points(value)] if isinstance(spec, list) else []


@pytest.mark.parametrize(
    ("method", "num_virtual", "expected"),
    [("grpo", 1, GRPO), ("ngrpo", 1, NGRPO), ("ngrpo", 2, TWO_VIRTUAL), ("ngrpo", 4, FOUR_VIRTUAL)],
    ids=["grpo", "ngrpo", "two virtual", "four virtual"],
)
def test_the_published_table(
    method: str, num_virtual: int, expected: dict[int, tuple[float | None, float | None]]
) -> None:
    shown = table("--group-size", "8", "--num-virtual", str(num_virtual))
    rows = shown["methods"][method]
    assert [row["correct"] for row in rows] == list(range(9))
    for count, pair in expected.items():
        cells = rows[count]["advantage_correct"], rows[count]["advantage_wrong"]
        assert cells == tuple(None if value is None else pytest.approx(value, abs=6e-4) for value in pair)


def test_the_published_sums() -> None:
    rows = table()["methods"]["ngrpo"]
    for count, expected in NGRPO_SUM.items():
        assert rows[count]["sum"] == pytest.approx(expected, abs=6e-3)


def test_json_is_unrounded_and_says_its_settings() -> None:
    shown = table("--method", "ngrpo")
    assert {key: shown[key] for key in ("group_size", "max_reward", "num_virtual", "std")} == {
        "group_size": 8,
        "max_reward": 1.0,
        "num_virtual": 1,
        "std": "sample",
    }
    # Mean 1/9 and deviation 1/3 of eight zeros and a one; 1e-6 is added to the deviation.
    assert shown["methods"]["ngrpo"][0]["advantage_wrong"] == pytest.approx(-(1 / 9) / (1 / 3 + 1e-6), abs=1e-15)


def test_every_method_is_shown_by_default_and_the_chosen_ones_in_order_otherwise() -> None:
    assert list(table()["methods"]) == list(METHODS)
    assert list(table("--method", "psr", "--method", "grpo")["methods"]) == ["psr", "grpo"]


def test_zero_is_never_negative_zero() -> None:
    for rows in table()["methods"].values():
        for row in rows:
            for value in row.values():
                assert value is None or value != 0 or math.copysign(1, value) == 1
    assert "-0.000" not in run().output


def test_the_population_deviation_is_the_paper_s_equation() -> None:
    sample, population = (
        table("--std", std)["methods"]["ngrpo"][0]["advantage_wrong"] for std in ("sample", "population")
    )
    assert sample / population == pytest.approx(math.sqrt(8 / 9), abs=1e-5)


def test_advantages_do_not_depend_on_the_scale_of_rewards_where_they_are_normalised() -> None:
    unit, large = (table("--max-reward", reward)["methods"] for reward in ("1", "10"))
    assert large["grpo"][3]["advantage_correct"] == pytest.approx(unit["grpo"][3]["advantage_correct"], abs=1e-4)
    assert large["dr_grpo"][3]["advantage_correct"] == pytest.approx(10 * unit["dr_grpo"][3]["advantage_correct"])
    assert large["psr"][3]["advantage_correct"] == 1.0


def test_groups_of_one_work() -> None:
    rows = advantage_rows(1)
    assert [row.advantage_wrong for row in rows["ngrpo"]] == [
        pytest.approx(-1 / math.sqrt(2), abs=1e-5),
        None,
    ]
    assert [row.sum for row in rows["grpo"]] == [0.0, 0.0]


@pytest.mark.parametrize("columns", [20, 40, 80, 400])
def test_every_number_is_shown_at_any_width(columns: int) -> None:
    output = run(columns=columns).output
    assert "…" not in output
    assert output.count("1.764 / -0.504") == 1
    assert output.count("— / -0.333") == 2  # ngrpo and the constant control
    assert max(len(line) for line in output.splitlines() if line[0] in "┏┃┡│└") <= max(columns, 24)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--group-size", "0"], "the group size must lie between 1 and 1024, got 0"),
        (["--group-size", "1025"], "the group size must lie between 1 and 1024, got 1025"),
        (["--method", "ppo2"], "unknown method 'ppo2'; allowed: grpo, "),
        (["--std", "unbiased"], "std must be one of sample, population; got 'unbiased'"),
        (["--num-virtual", "-1"], "num_virtual must be at least 0, got -1"),
        (["--max-reward", "0"], "max_reward must be a finite number above 0, got 0.0"),
        (["--max-reward", "nan"], "max_reward must be a finite number above 0, got nan"),
        (["--rewards", "0,half"], "--rewards takes finite numbers and commas, such as 0,0.5,1; got '0,half'"),
        (["--rewards", "0,nan"], "--rewards takes finite numbers and commas, such as 0,0.5,1; got '0,nan'"),
        (["--rewards", ""], "--rewards takes finite numbers and commas, such as 0,0.5,1; got ''"),
        (["--rewards", "0,1", "--group-size", "8"], "--rewards has 2 rewards but --group-size is 8: leave one out"),
        (["--rewards", "0,2"], "max_reward is 1.0 but a reward is 2.0; allowed are rewards up to max_reward"),
        (["--out", "chart.pdf"], "chart.pdf: a chart's file ends in .png, .svg, .html, .json"),
        (["--out", "nowhere/chart.png"], "nowhere/chart.png: must be a file in a folder that exists"),
        (["--panel", "weights"], "--panel chooses a part of the chart that --out draws without --rewards"),
        (["--panel", "all", "--out", "c.png"], "--panel must be one of advantages, weights; got 'all'"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_status_two(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, ConfigError)
    assert result.exception.exit_status == 2
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert result.stdout == ""


# f(p) of groups of 8 at the success rates 0 and 0.99, where published; the table gives two or three digits.
PUBLISHED_WEIGHTS = {
    "grpo": (2.47, 2.44),
    "ngrpo": (2.10, 2.63),
    "constant": (2.81, None),
    "dr_grpo": (0.875, None),
    "psr_nsr": (1.1, None),
    "maxrl": (7.0, None),
}


@pytest.mark.parametrize(("method", "expected"), PUBLISHED_WEIGHTS.items())
def test_the_published_gradient_weights(method: str, expected: tuple[float, float | None]) -> None:
    shown = table("--method", method)
    at = dict(zip(shown["success_rates"], shown["weights"][method], strict=True))
    assert list(at) == list(SUCCESS_RATES)
    assert at[0.0] == pytest.approx(expected[0], abs=6e-3)
    assert expected[1] is None or at[0.99] == pytest.approx(expected[1], abs=6e-3)


def test_calibration_gives_hard_problems_less_weight_than_grpo_and_easy_ones_more() -> None:
    rows = advantage_rows(8, ["grpo", "ngrpo"])
    weights = gradient_weights(rows, [0.0, 0.1, 0.3, 0.7, 0.9, 1.0])
    assert [a < b for a, b in zip(weights["ngrpo"], weights["grpo"], strict=True)] == [True] * 3 + [False] * 3


def test_one_group_of_graded_rewards() -> None:
    shown = table("--rewards", "0,0.5,1,0", "--method", "ngrpo", "--method", "dr_grpo", "--method", "psr_nsr")
    assert shown["rewards"] == [0, 0.5, 1, 0]
    assert shown["methods"]["dr_grpo"] == {"advantages": [-0.375, 0.125, 0.625, -0.375], "sum": 0.0}
    assert shown["methods"]["psr_nsr"]["advantages"] == pytest.approx([-1, -1, 0.1, -1])
    # With the virtual reward: 0, 0, 0.5, 1, 1; mean 0.5, squares 1, deviation 0.5.
    assert shown["methods"]["ngrpo"]["advantages"] == pytest.approx([-1, 0, 1, -1], abs=1e-5)
    assert shown["methods"]["ngrpo"]["sum"] == pytest.approx(-1, abs=1e-5)
    output = run("--rewards", "0,0.5,1,0", "--method", "dr_grpo").output
    assert "one group of 4, 1 of them correct" in output
    assert "│ 0.5    │   0.125 │" in output
    assert "│ sum    │   0.000 │" in output


def test_negative_rewards_can_be_given() -> None:
    assert table("--rewards", "-1,1", "--method", "dr_grpo")["methods"]["dr_grpo"]["advantages"] == [-1, 1]


def test_what_depends_on_more_than_a_group_s_rewards_has_a_note() -> None:
    notes = method_notes(METHODS)
    assert notes["dapo"].startswith("depends on the lengths of completions")
    assert not {"grpo", "ngrpo", "psr_nsr", "maxrl"} & notes.keys()
    for name, method in METHODS.items():
        more = getattr(method, "needs_entropies", False) or "shaped_rewards" in vars(method)
        assert name in notes or not more
    assert table("--method", "dapo", "--method", "grpo")["notes"].keys() == {"dapo"}
    assert "dapo: depends on the lengths of completions" in run("--method", "dapo").output


class Critic(Method):
    """A method without advantages of its own, like PPO."""

    paper: ClassVar[str] = ""
    name: Literal["critic"] = "critic"


def test_a_method_whose_advantages_come_from_elsewhere_has_no_numbers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(METHODS, "critic", Critic)
    shown = table("--method", "critic", "--group-size", "1")
    assert shown["methods"]["critic"][0] == {
        "correct": 0,
        "advantage_correct": None,
        "advantage_wrong": None,
        "sum": None,
    }
    assert set(shown["weights"]["critic"]) == {None}
    assert group_advantages([0.0, 1.0], ["critic"]) == {"critic": [None, None]}
    assert "— / —" in run("--method", "critic").output
    assert "critic: advantages come from a critic" in run("--method", "critic", "--rewards", "0,1").output
    chart = tmp_path / "c.json"
    assert run("--method", "critic", "--method", "grpo", "--out", str(chart)).exit_code == 0
    assert "critic" not in chart.read_text()
    for arguments in ([], ["--rewards", "0,1"]):
        result = run("--method", "critic", "--out", str(chart), *arguments)
        assert str(result.exception) == "there is nothing to draw: no line has a defined point"
        assert result.stdout == ""


@pytest.mark.parametrize(
    ("group_size", "arguments"),
    [("1", []), ("3", ["--panel", "advantages"]), ("64", ["--panel", "weights"])],
)
def test_a_chart_of_every_method(group_size: str, arguments: list[str], tmp_path: Path) -> None:
    path = tmp_path / "chart.json"
    result = run("--group-size", group_size, "--out", str(path), "--json", *arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["group_size"] == int(group_size)
    assert result.stderr == f"wrote {path}\n"
    spec = path.read_text()
    assert ("Expected gradient weight" in spec, "of a wrong completion" in spec) == (
        "advantages" not in arguments,
        "weights" not in arguments,
    )
    sampled = json.loads(spec)
    assert "http" not in json.dumps({**sampled, "$schema": ""})
    assert all(name in spec for name in METHODS if name not in method_notes(METHODS))


def test_a_chart_of_one_group(tmp_path: Path) -> None:
    path = tmp_path / "chart.json"
    assert run("--rewards", "0,0.5,1", "--method", "rloo", "--out", str(path)).exit_code == 0
    assert {"name": "rloo", "x": 0.5, "y": 0.0} in points(json.loads(path.read_text()))


@pytest.mark.parametrize("suffix", [".png", ".svg", ".html"])
def test_the_formats_that_people_look_at(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"chart{suffix}"
    arguments = ["--panel", "weights", "--method", "grpo", "--method", "ngrpo", "--out", str(path)]
    assert run(*arguments).exit_code == 0
    assert path.read_bytes().startswith({".png": b"\x89PNG", ".svg": b"<svg", ".html": b"<!DOCTYPE html>"}[suffix])
