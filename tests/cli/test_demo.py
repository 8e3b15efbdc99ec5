"""`ngrpo demo`, shortened to a step, with everything else as it is."""

from __future__ import annotations

import json

from tests.report.headless import CHROMIUM, Browser


def test_the_demo_shows_all_three_methods(run, tmp_path):
    outcome = run("demo", "--steps", 1, "--problems", 16, "--out", tmp_path / "d", "--json")
    assert outcome.status == 0, outcome.err
    result = json.loads(outcome.out)
    assert list(result["methods"]) == ["grpo", "psr_nsr", "ngrpo"]
    assert result["gradient_shares"]["grpo"]["all_wrong"] == 0.0
    assert 0.0 < result["gradient_shares"]["ngrpo"]["all_wrong"] < result["gradient_shares"]["psr_nsr"]["all_wrong"]
    before = [method["before"] for method in result["methods"].values()]
    assert before[0] == before[1] == before[2]
    assert {method["rollouts"] for method in result["methods"].values()} == {512}
    carried = {name: method["carried_gradient"] for name, method in result["methods"].items()}
    assert carried["grpo"] < carried["ngrpo"] <= carried["psr_nsr"] == 1.0
    assert "no evidence" in outcome.err
    assert result["report"] == str(tmp_path / "d" / "report.html")
    assert f"report: {result['report']}" in outcome.err
    assert "3 runs of builtin:countdown-base on countdown: grpo, 1 step" in (tmp_path / "d" / "report.html").read_text()
    if CHROMIUM is not None:  # else tests/report says why its tests are skipped
        with Browser() as browser:
            browser.open((tmp_path / "d" / "report.html").as_uri())
            assert browser.evaluate("Number(document.documentElement.dataset.charts)") > 0
            assert (browser.errors, browser.requests) == ([], [])
