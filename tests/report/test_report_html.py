"""The page in a real browser: draws every chart, asks for nothing, filters and opens groups, fits phone and paper."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ngrpo.report.page_parts import Page
from ngrpo.report.report_html import embedded_json, page_html
from tests.report.headless import Browser

WITHOUT_MARKS = """
[...document.querySelectorAll("[data-chart]")].filter((chart) => {
  const marks = chart.querySelectorAll(".mark-line path, .mark-rect path, .mark-symbol path, .mark-rule line");
  return ![...marks].some((mark) => mark.getBoundingClientRect().width + mark.getBoundingClientRect().height > 0);
}).map((chart) => chart.dataset.chart)
"""


def data_of(page: str, name: str) -> Any:
    match = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, flags=re.DOTALL)
    assert match is not None
    return json.loads(match[1])


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_every_chart_is_drawn_and_nothing_is_asked_for(browser: Browser, page_file: Path, width: int, dark: bool):
    browser.open(page_file.as_uri(), width=width, dark=dark)
    charts = data_of(page_file.read_text(encoding="utf-8"), "charts")["charts"]
    assert len(charts) >= 15
    assert browser.evaluate("Number(document.documentElement.dataset.charts)") == len(charts)
    assert browser.evaluate(WITHOUT_MARKS) == []
    assert browser.errors == []
    assert browser.requests == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= width, "the page must not scroll sideways"
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 24, 27)" if dark else "rgb(255, 255, 255)")
    ink = browser.evaluate("getComputedStyle(document.querySelector('.chart .role-axis-label text')).fill")
    assert ink == ("rgb(163, 166, 170)" if dark else "rgb(95, 99, 104)"), "charts follow the reader's scheme"


def test_paper_is_light_and_without_controls(browser: Browser, page_file: Path):
    browser.open(page_file.as_uri(), dark=True, media="print")
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    hidden = (
        "['nav', '#filters', '#rollout-groups'].map((name) => getComputedStyle(document.querySelector(name)).display)"
    )
    assert browser.evaluate(hidden) == ["none"] * 3


def test_the_browser_filters_and_opens_a_group(browser: Browser, page_file: Path):
    browser.open(page_file.as_uri())
    data = data_of(page_file.read_text(encoding="utf-8"), "rollout-data")["rollouts"]
    assert len(data["groups"]) == 2 * 3 * 8

    def matching(**fields: str) -> int:
        browser.evaluate(
            f"""(() => {{
              const form = document.getElementById("filters");
              form.reset();
              Object.entries({json.dumps(fields)}).forEach(([name, value]) => {{ form.elements[name].value = value; }});
              form.dispatchEvent(new Event("input"));
            }})()"""
        )
        return int(browser.evaluate("document.getElementById('matches').textContent").partition(" of ")[0])

    groups = data["groups"]
    problem = groups[0][2]
    assert matching() == len(groups)
    assert matching(step="2-3") == sum(group[1] in (2, 3) for group in groups)
    assert matching(run="1", step="1") == 8
    assert matching(kind="mixed") == sum(group[3] == "mixed" for group in groups) > 0
    has_correct = sum(any(one[1] == "correct" for one in group[7]) for group in groups)
    assert 0 < matching(status="correct") == has_correct < len(groups)
    assert matching(text="no such problem") == 0
    assert matching(text=problem, run="0") == sum(problem in group[2] and group[0] == 0 for group in groups)

    assert matching(kind="mixed", run="0") > 0
    group = next(group for group in groups if group[3] == "mixed" and group[0] == 0)
    browser.evaluate("document.querySelector('.group').click()")
    texts = browser.evaluate("[...document.querySelectorAll('.opened .completion pre')].map((one) => one.textContent)")
    assert texts == [completion[0] for completion in group[7]]
    shown = browser.evaluate("document.querySelector('.opened').textContent")
    assert group[4] in shown, "the prompt"
    rows = browser.evaluate(
        "[...document.querySelectorAll('.methods tbody tr')].map((row) => [...row.children].map((c) => c.textContent))"
    )
    by_method = {row[0].removesuffix(" *"): row[1:] for row in rows}
    assert list(by_method) == data["methods"]
    logged = [float(f"{completion[3]:.3g}") for completion in group[7]]
    assert [float(text.replace("−", "-")) for text in by_method["ngrpo"]] == pytest.approx(logged, abs=2e-3)
    assert set(by_method["ppo"]) == {"—"}
    browser.evaluate("document.querySelector('.group').click()")
    assert browser.evaluate("document.querySelectorAll('.opened').length") == 0
    assert browser.errors == []


def test_figures_are_questions_with_units_and_ids_are_unique(page_file: Path):
    page = page_file.read_text(encoding="utf-8")
    questions = re.findall(r"<figcaption><h3>(.*?)</h3>", page)
    assert len(questions) >= 12
    assert all(question.endswith("?") for question in questions)
    ids = re.findall(r'\sid="([^"]+)"', page.partition('<script type="application/json"')[0])
    assert len(ids) == len(set(ids))
    for spec in data_of(page, "charts")["charts"].values():
        titles = re.findall(
            r'"title": "([^"]*)"', json.dumps([layer["encoding"] for layer in spec.get("layer", [spec])])
        )
        assert any(re.search(r"percent|nats|reward|tokens|step|points", title) for title in titles)


def test_the_summary_says_what_ran_what_was_dead_and_what_came_out(page_file: Path):
    page = page_file.read_text(encoding="utf-8")
    summary = page.partition('<div class="summary">')[2].partition("</div>")[0].replace("\N{NO-BREAK SPACE}", " ")
    assert "2 runs of builtin:countdown-base on countdown: ngrpo, 3 steps; grpo, 3 steps." in summary
    assert re.search(r"Dead groups.*: ngrpo \d+\.\d % of 24 \(\d+\.\d % all-wrong\)", summary)
    assert re.search(r"AUC of Pass@k on countdown: base \d+\.\d % \[\d+\.\d, \d+\.\d\]; ngrpo", summary)
    assert re.search(r"Paired differences, in points: ngrpo − grpo [+−]\d+\.\d \[[+−]\d+\.\d, [+−]\d+\.\d\]", summary)


def test_an_embedded_object_cannot_end_its_element():
    text = "</script><script>alert(1)</script><!--\u2028\ud800"
    embedded = embedded_json({"a": text, "b": float("nan")})
    assert "<" not in embedded
    assert json.loads(embedded) == {"a": text, "b": None}


def test_a_page_without_anything_is_still_a_page():
    page = page_html(Page("nothing <b>", ["a & b"], []))
    assert "<title>nothing &lt;b&gt; · ngrpo report</title>" in page
    assert "a &amp; b" in page
    assert data_of(page, "rollout-data") == {"rollouts": None}
