"""`ngrpo diagnose` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

DATA = Path(__file__).parents[1] / "diagnosis" / "data"


def test_facts_of_a_healthy_log(run):
    outcome = run("diagnose", DATA / "verl_dump.jsonl")
    assert outcome.status == 0
    assert "fact groups: 16 groups: all-wrong 87.5%" in outcome.out
    assert "0 warnings; a log of verl: 64 completions in 16 groups, 1 step" in outcome.err


def test_json(run):
    found = json.loads(run("diagnose", DATA / "trl_completions.parquet", "--json").out)
    assert (found["kind"], found["completions"], found["groups"], found["warnings"]) == ("trl", 32, 8, 0)
    groups = next(finding for finding in found["findings"] if finding["name"] == "groups")
    assert groups["number"] == 0.75


def test_a_warning_gives_status_1_and_no_control_character_reaches_the_terminal(run, tmp_path):
    hostile = "\x1b]0;t\x07\x1b[2J</script>\u202e" + "x" * 1_000_000
    rows = [
        {
            "input": f"{i // 4}",
            "output": f"{hostile}{i}",
            "score": 0.0,
            "gts": "1",
            "error": "bad" * (i < 8),
        }
        for i in range(32)
    ]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = run("diagnose", tmp_path / "d.jsonl")
    assert outcome.status == 1
    assert "warning ungraded: 25.0% of completions" in outcome.out
    assert "    cure:   ngrpo grade FILE --compare math-verify" in outcome.out
    assert not {"\x1b", "\x07", "\u202e"} & set(outcome.out + outcome.err)
    assert max(map(len, outcome.out.splitlines())) < 400


def test_what_is_no_log_is_wrong_usage(run, tmp_path):
    outcome = run("diagnose", tmp_path / "none.jsonl")
    assert outcome.status == 2
    assert "no such file or folder" in outcome.err
