"""Text of models, folders and configs that attacks a page or a terminal: shown as text, and nothing of it runs."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from ngrpo.diagnosis import diagnose, read_log
from ngrpo.report import page_of, write_page
from ngrpo.report.visible_text import visible
from ngrpo.runs.progress import EvaluationProgress, Progress
from tests.report.headless import Browser

SCRIPT = "</script><img src=x onerror=\"document.title='run'\"><script>document.title='run'</script><!--"
ATTACKS = {
    "script": SCRIPT,
    "template": "{{ 7 * 7 }}{% raw %}<svg onload=document.title='run'>",
    "terminal": "\x1b]0;title\x07\x1b[2J\x1b[31mred",
    "direction": "abc\u202edef\u2066ghi\u2069",
    "separators": "line\u2028separator\u2029paragraph\u0085next",
    "invisible": "a\u200bb\ufeffc\u00add\U000e0041e",
    "markup": "[/red][link=file:///etc]x[/link]",
    "long": "x" * 1_000_000 + "the end",
}
INVALID = (
    b'{"step": 3, "problem_id": "invalid", "sample": 7, "status": "wrong", "reward": 0, '
    b'"completion": "caf\xe9 \xff\xfe"}\n'
)


@pytest.fixture(scope="module")
def attacked(two_runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose folder, config, prompts, answers and completions attack."""
    folder = tmp_path_factory.mktemp("attacked") / "<img src=x onerror=document.title='run'>\u202e"
    shutil.copytree(two_runs[0], folder, ignore=shutil.ignore_patterns("checkpoints"))
    record = json.loads((folder / "config.json").read_text())
    record["config"]["run"]["name"] = record["config"]["task"]["name"] = ATTACKS["script"] + ATTACKS["direction"]
    (folder / "config.json").write_text(json.dumps(record))
    rows = [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]
    for at, row in enumerate(rows):
        text = list(ATTACKS.values())[at if at < 8 else at % 7]  # the line of a megabyte once
        row["completion"] = text
        # A verdict both ways on the same answer makes diagnose print the text as evidence.
        row.update(answer=text[:300], problem_id=text[:100] if at < 8 else row["problem_id"])
        if "prompt" in row:
            row["prompt"] = text
    lines = "".join(json.dumps(row, ensure_ascii=at % 2 == 0) + "\n" for at, row in enumerate(rows))
    (folder / "rollouts.jsonl").write_bytes(lines.encode("utf-8", "surrogatepass") + INVALID + b"\xff\xfe not JSON\n")
    return folder


def test_in_the_report(attacked: Path, browser: Browser, tmp_path: Path):
    path = tmp_path / "report.html"
    write_page(page_of([attacked]), path)
    assert path.stat().st_size < 3e6, "lines of megabytes are cut"
    source = path.read_text(encoding="utf-8")
    assert not {
        character
        for character in source.partition('<script type="application')[0]
        if character in "\x1b\x07\u202e\u2066\u2028"
    }
    browser.open(path.as_uri())
    assert browser.evaluate("document.title").endswith("· ngrpo report")
    browser.evaluate(
        "(() => { const more = document.getElementById('more'); while (!more.hidden) more.click();"
        " document.querySelectorAll('.group').forEach((group) => group.click()); })()"
    )
    texts = browser.evaluate("[...document.querySelectorAll('.completion pre')].map((one) => one.textContent)")
    for name, attack in ATTACKS.items():
        assert visible(attack, 2_000) in texts, name
    assert "caf\ufffd \ufffd\ufffd" in texts
    assert any("characters left out" in text and text.endswith("the end") for text in texts)
    assert browser.evaluate("document.querySelectorAll('img, iframe, object, main script').length") == 0
    assert browser.evaluate("document.title").endswith("· ngrpo report"), "nothing ran"
    assert (
        browser.evaluate("document.querySelector('h1').textContent")
        == "<img src=x onerror=document.title='run'>⟨U+202E⟩"
    )
    assert "1 damaged or unfinished lines left out" in browser.evaluate(
        "document.getElementById('findings').textContent"
    )
    assert browser.errors == []
    assert browser.requests == []


def test_in_pictures_and_tooltips(attacked: Path, browser: Browser, two_runs: list[Path], tmp_path: Path):
    path = tmp_path / "report.html"
    write_page(page_of([attacked, two_runs[1]]), path)
    browser.open(path.as_uri())
    tooltips = browser.evaluate(
        """[...document.querySelectorAll(".mark-symbol path")].map((mark) => {
             for (const kind of ["pointerover", "pointermove", "mouseover", "mousemove"])
               mark.dispatchEvent(new PointerEvent(kind, { bubbles: true, clientX: 300, clientY: 300 }));
             return document.getElementById("vg-tooltip-element")?.textContent ?? "";
           })"""
    )
    assert any("onerror" in text for text in tooltips)
    assert any("grpo" in text for text in tooltips)
    assert browser.evaluate("document.querySelectorAll('img').length") == 0
    assert browser.errors == []


def test_in_diagnose(attacked: Path, capsys: pytest.CaptureFixture[str]):
    from ngrpo.cli.main import main

    found = diagnose(read_log(attacked))
    assert any(
        "onerror" in line or "\x1b" in line for one in found.findings for line in (*one.found.evidence, one.found.text)
    )
    with pytest.raises(SystemExit):
        main(["diagnose", str(attacked / "rollouts.jsonl")])
    out = "".join(capsys.readouterr())
    assert not {character for character in out if not character.isprintable()} - {"\n"}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("terminal", [True, False])
def test_in_progress(attack: str, terminal: bool):
    text = ATTACKS[attack][:400]
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=2_000, color_system=None, highlight=False)
    progress = Progress(console=console)
    progress.on_start([text], first_step=1, last_step=2)
    progress.on_phase(text)
    progress.on_evaluation_progress(text, 1, 2)
    progress.on_evaluation(1, text, {"pass_at_k": {"1": 0.5}, "auc": None})
    progress.on_message(text)
    progress.close()
    shown = file.getvalue()
    assert "\x1b]0" not in shown
    assert not {"\x07", "\u202e", "\u2066", "\u2028"} & set(shown)
    if attack in ("script", "markup"):
        assert text in shown, "shown as it is, without markup"


def test_a_bar_shows_a_task_as_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "300")
    for text in (ATTACKS["markup"], ATTACKS["terminal"]):
        with EvaluationProgress(text, quiet=False) as bar:
            bar.update(1, 2)
            bar.message(text)
    shown = capsys.readouterr().err
    assert ATTACKS["markup"] in shown
    assert "\x1b]0" not in shown
    assert "\x1b[2J" not in shown
