"""Short real runs of the shipped model, their report, and a browser, each made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import ngrpo
from tests.report.headless import CHROMIUM, Browser

CONFIG = Path(__file__).parents[2] / "configs" / "countdown" / "ngrpo.toml"
SETTINGS = (
    "sampling.problems_per_step=8",
    "optimizer.updates_per_step=2",
    "optimizer.warmup_steps=1",
    "evaluation.every=2",
    "evaluation.problems=12",
    "evaluation.samples=8",
    "model.device=cpu",
    "task.train_size=12",
)


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Run folders of ngrpo and grpo: three steps of 8 groups of 8, evaluated at steps 0, 2 and 3."""
    folder = tmp_path_factory.mktemp("reported")
    return [
        ngrpo.train(
            CONFIG, folder / name, overrides=[*SETTINGS, f"method.name={name}", "run.steps=3"], progress=False
        ).path
        for name in ("ngrpo", "grpo")
    ]


@pytest.fixture(scope="session")
def page_file(two_runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of both runs."""
    from ngrpo.report import page_of, write_page

    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(page_of(two_runs), path)
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; Debian's package is `chromium`."""
    if CHROMIUM is None:
        pytest.skip("needs chromium (apt-get install chromium)")
    with Browser() as opened:
        yield opened
