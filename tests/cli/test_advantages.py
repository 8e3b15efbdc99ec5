"""`ngrpo advantages` reproduces the published table and shows no number where there is no completion."""

import json
import math
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from ngrpo.cli.advantages import advantage_rows, advantages
from ngrpo.errors import ConfigError
from ngrpo.methods import METHODS

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
    assert max(map(len, output.splitlines()[1:])) <= max(columns, 24)


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
    ],
)
def test_wrong_arguments_are_one_line_and_exit_status_two(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, ConfigError)
    assert result.exception.exit_status == 2
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert result.stdout == ""
