"""docs/algorithm.md: its commands make its pictures, and its numbers are those of the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from ngrpo.cli.advantage_rows import advantage_rows, gradient_weights
from ngrpo.cli.advantages import advantages

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "algorithm.md").read_text(encoding="utf-8")
PICTURES = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", PAGE)
COMMANDS = re.findall(r"^ngrpo (advantages .*--out .*)$", PAGE, flags=re.MULTILINE)
LARGEST_PICTURE = 150_000


def test_every_picture_has_its_command() -> None:
    assert [shlex.split(command)[-1] for command in COMMANDS] == [f"docs/{picture}" for picture in PICTURES]
    assert len(PICTURES) == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_the_named_commands_make_the_pictures(command: str, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(advantages)
    arguments = shlex.split(command)
    made = tmp_path / Path(arguments[-1]).name
    result = CliRunner().invoke(app, [*arguments[1:-1], str(made)])
    assert result.exit_code == 0, result.output
    shipped = DOCS / "images" / made.name
    assert shipped.stat().st_size < LARGEST_PICTURE
    assert difference(made, shipped) < 0.01  # fonts may differ between machines
    other = next(path for path in (DOCS / "images").iterdir() if path != shipped)
    assert difference(made, other) > 0.02


def difference(first: Path, second: Path) -> float:
    """Mean difference of two pictures in grey, 0 to 1; the second is scaled to the first."""
    one = Image.open(first).convert("L")
    two = Image.open(second).convert("L").resize(one.size)
    return float(np.abs(np.asarray(one, dtype=float) - np.asarray(two, dtype=float)).mean() / 255)


def numbers(cell: str) -> list[float | None]:
    return [None if part.strip() == "—" else float(part) for part in cell.split(" / ")]


def test_the_table_of_advantages_is_what_the_code_gives() -> None:
    rows = re.findall(r"^\| (\d) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE, flags=re.MULTILINE)
    assert [int(row[0]) for row in rows] == [0, 1, 2, 4, 6, 7, 8]
    one, two = advantage_rows(8, ["grpo", "ngrpo"]), advantage_rows(8, ["ngrpo"], num_virtual=2)
    for text, *cells in rows:
        count = int(text)
        grpo, ngrpo, twice = one["grpo"][count], one["ngrpo"][count], two["ngrpo"][count]
        for row, cell in ((grpo, cells[0]), (ngrpo, cells[1]), (twice, cells[3])):
            assert numbers(cell) == [
                None if value is None else pytest.approx(value, abs=6e-4)
                for value in (row.advantage_correct, row.advantage_wrong)
            ]
        assert float(cells[2]) == pytest.approx(ngrpo.sum, abs=6e-3)


@pytest.mark.parametrize(
    ("method", "heading"),
    [
        ("grpo", "GRPO"),
        ("ngrpo", "NGRPO"),
        ("constant", r"GRPO with -1/3 on all-wrong groups \(`constant`\)"),
        ("psr_nsr", r"W-REINFORCE \(`psr_nsr`\)"),
        ("dr_grpo", r"Dr\.GRPO"),
        ("maxrl", "MaxRL"),
    ],
)
def test_the_table_of_weights_is_what_the_code_gives(method: str, heading: str) -> None:
    row = re.search(rf"^\| {heading} \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", PAGE, flags=re.MULTILINE)
    assert row is not None
    weights = gradient_weights(advantage_rows(8, [method]), [0.0, 0.5, 0.99])[method]
    assert [float(cell) for cell in row.groups()] == pytest.approx(weights, abs=6e-3)


def test_the_population_deviation_s_example() -> None:
    rows = advantage_rows(8, ["ngrpo"], std="population")["ngrpo"]
    assert rows[0].advantage_wrong == pytest.approx(-0.354, abs=5e-4)
    assert "-0.354 instead of -0.333" in PAGE


def test_the_configs_that_the_page_names_exist() -> None:
    configs = DOCS.parent / "configs"
    named = re.findall(r"`(?:configs/)?((?:ablations|paper)/\w+\.toml)`", PAGE)
    assert len(named) >= 6
    assert all((configs / name).is_file() for name in named)
    for name in re.findall(r"`(\w+)`", PAGE.rpartition("Beyond the paper:")[2]):
        assert (configs / "ablations" / f"{name}.toml").is_file()
