"""The report of a study, from summaries made by hand and results as `ngrpo study` writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ngrpo.errors import ConfigError
from ngrpo.report import page_of
from ngrpo.report.report_html import page_html
from ngrpo.storage import write_json
from ngrpo.study.cell_summary import CellSummary, EvaluationCounts, read_summary
from ngrpo.study.study_config import StudySettings
from ngrpo.study.study_results import results_of
from tests.report.headless import Browser
from tests.report.test_report_html import WITHOUT_MARKS

PROBLEMS = tuple(f"p{number}" for number in range(12))
METRICS = {"group/all_wrong": (0.6, 0.5, 0.4), "advantage/nonzero": (0.5, 0.5, 0.5)}


def cell(variant: str, seed: int, better: int) -> CellSummary:
    evaluations = tuple(
        EvaluationCounts(
            step,
            "t",
            PROBLEMS,
            (8,) * 12,
            tuple(min(8, max(0, at - 4 + (at * seed) % 3) + better * (step > 0)) for at in range(12)),
        )
        for step in (0, 10, 20)
    )
    stopped = "tripwires" if (variant, seed) == ("<b>ngrpo</b>", 1) else ""
    return CellSummary(variant, seed, 20, 1_000, 80, stopped, 1.0, evaluations, METRICS)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    settings = StudySettings(name="s", seeds=3, compare_to="grpo", vary={"grpo": {}, "<b>ngrpo</b>": {}})
    cells = [cell(variant, seed, better) for variant, better in (("grpo", 0), ("<b>ngrpo</b>", 2)) for seed in range(3)]
    for number, one in enumerate(cells):
        one.write(tmp_path / "summaries" / ("grpo" if number < 3 else "ngrpo") / f"{one.seed}.json")
    write_json(tmp_path / "study.json", {"settings": settings.model_dump(mode="json"), "cells": {}})
    write_json(tmp_path / "results.json", results_of(settings, cells).to_json())
    return tmp_path


def test_variants_differences_and_charts(study: Path, browser: Browser):
    page = page_of([study])
    assert page.summary[0] == "6 finished runs: 2 variants (grpo, <b>ngrpo</b>) with 3 seeds each."
    assert "chance over seeds and problems does not explain it" in page.summary[2]
    path = study / "report.html"
    path.write_text(page_html(page), encoding="utf-8")
    browser.open(path.as_uri())
    assert browser.evaluate(WITHOUT_MARKS) == []
    assert browser.errors == browser.requests == []
    text = browser.evaluate("document.body.textContent")
    assert "<b>ngrpo</b> − grpo" in text
    assert "<b>ngrpo</b>: 1 of 3 runs ended early" in text


def test_what_is_missing_is_said(study: Path):
    (study / "results.json").unlink()
    (study / "summaries/grpo/0.json").write_text("{}")
    page = page_of([study])
    (missing,) = page.findings
    assert [line.partition(" ")[0] for line in missing.missing] == [str(study / "summaries/grpo/0.json:"), "no"]
    assert read_summary(study / "summaries/grpo/1.json").seed == 1
    assert "2 to 3 seeds each" in page.summary[0]
    assert page_html(page)


def test_a_study_without_a_finished_run_or_beside_a_run_is_an_error(study: Path, two_runs: list[Path], tmp_path: Path):
    with pytest.raises(ConfigError, match="made by itself, got 2 folders"):
        page_of([study, two_runs[0]])
    empty = tmp_path / "empty"
    (empty / "summaries").mkdir(parents=True)
    with pytest.raises(ConfigError, match="no run of this study is finished"):
        page_of([empty])
