"""`ngrpo power`: plans from pilot files, paired by seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ngrpo.evaluation.statistics.design_power import plan_of
from tests.cli.conftest import Outcome


def counts(path: Path, correct: list[int]) -> Path:
    path.write_text("problem_id,n,c\n" + "".join(f"p{i},4,{c}\n" for i, c in enumerate(correct)))
    return path


@pytest.fixture
def pilots(tmp_path: Path) -> tuple[list[Path], list[Path], np.ndarray]:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, (2, 12)), rng.integers(0, 4, (2, 12))
    files = [[counts(tmp_path / f"{side}{i}.csv", list(row)) for i, row in enumerate(rows)]
             for side, rows in (("a", a), ("b", b))]  # fmt: skip
    return files[0], files[1], (a - b) / 4


def test_the_plans_are_those_of_the_function(
    run: Callable[..., Outcome], pilots: tuple[list[Path], list[Path], np.ndarray]
) -> None:
    a, b, differences = pilots
    against = [part for path in b for part in ("--against", path)]
    done = run("power", *a, *against, "--seeds", "2,10", "--problems", "100,1000", "--statistic", "pass@1", "--json")
    assert done.status == 0, done.err
    plans = json.loads(done.out)["plans"]
    assert [(plan["seeds"], plan["problems"]) for plan in plans] == [(2, 100), (2, 1000), (10, 100), (10, 1000)]
    expected = plan_of(differences, seeds=10, problems=1000)
    assert plans[-1]["smallest"] == pytest.approx(expected.smallest)
    assert plans[-1]["chance"] == pytest.approx(expected.chance)
    table = run("power", *a, *against)
    assert table.status == 0
    assert "smallest" in table.out


def test_wrong_pilots_are_one_line(
    run: Callable[..., Outcome], pilots: tuple[list[Path], list[Path], np.ndarray]
) -> None:
    a, b, _ = pilots
    assert "A has 2 files, --against 1" in run("power", *a, "--against", b[0]).err
    paired = ("power", a[0], "--against", b[0])
    assert (
        "--statistic is 'pass@64'; the files have pass@1, pass@2, pass@4, auc"
        in run(*paired, "--statistic", "pass@64").err
    )
    assert "--seeds takes whole numbers" in run(*paired, "--seeds", "few").err
    assert "at least 1 seed and 2 problems, got 0" in run(*paired, "--seeds", "0").err
