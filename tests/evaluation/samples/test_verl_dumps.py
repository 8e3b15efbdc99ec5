"""Dumps with lines as verl 0.9.1 writes them, the older trainer and the newer one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ngrpo.errors import DataError
from ngrpo.evaluation.samples.counts import Counts, read_counts

VERL = r"""{"input": "system\nYou are helpful.\nuser\nWhat is 2+2?\nassistant\n", "output": "So \\boxed{4}.", "gts": "4", "score": 1.0, "step": 20, "reward": 1.0, "acc": true, "pred": "4"}"""  # noqa: E501


def verl(**changes: Any) -> dict[str, Any]:
    return json.loads(VERL) | changes


def verl_score(**changes: Any) -> dict[str, Any]:
    keys = ("input", "output", "gts", "score", "step")
    return {key: value for key, value in verl().items() if key in keys} | changes


def written(tmp_path: Path, *rows: dict[str, Any]) -> Path:
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def numbers(counts: Counts) -> list[tuple[int, int, int]]:
    return list(zip(counts.n.tolist(), counts.c.tolist(), counts.ungraded.tolist(), strict=True))


def test_equal_inputs_of_verl_are_one_problem(tmp_path: Path) -> None:
    rows = [verl(acc=acc, input=text) for text in ("What is\n2+2?", "What is 3+3?") for acc in (True, False, 1.0)]
    counts = read_counts(written(tmp_path, *rows))
    assert numbers(counts) == [(3, 2, 0)] * 2
    assert [name.partition(" ")[2] for name in counts.problem_ids] == ["What is 2+2?", "What is 3+3?"]
    other = read_counts(written(tmp_path, *reversed(rows)))
    assert other.problem_ids == counts.problem_ids[::-1]
    assert numbers(read_counts(written(tmp_path, verl(), verl(gts="5")))) == [(1, 1, 0)] * 2
    assert numbers(read_counts(written(tmp_path, verl(gts=["4"]), verl(gts=["4"])))) == [(2, 2, 0)]


@pytest.mark.parametrize("low", [0, 0.0, -1.0])
def test_scores_of_verl_are_verdicts_when_there_are_two(tmp_path: Path, low: float) -> None:
    rows = [verl_score(score=score) for score in (1.0, low, low)]
    assert numbers(read_counts(written(tmp_path, *rows))) == [(3, 1, 0)]


def test_what_verl_could_not_grade_is_ungraded(tmp_path: Path) -> None:
    rows = [verl(), verl(acc=0.0, timeout=True), verl(acc=0.0, error="no sandbox"), verl(acc=None), verl(timeout=None)]
    counts = read_counts(written(tmp_path, *rows))
    assert numbers(counts) == [(2, 2, 3)]
    assert counts.reasons == {"timeout": 1, "no sandbox": 1, "acc is null": 1}


def test_of_several_turns_of_a_rollout_the_last_counts(tmp_path: Path) -> None:
    rows = [
        verl(uid=f"{prompt}_{rollout}_{turn}", input="q" if turn == 0 else f"q and {rollout}", acc=acc)
        for prompt in ("a1", "b_2")
        for rollout, turns in enumerate([[False, True], [True, True, False], [True]])
        for turn, acc in enumerate(turns)
    ]
    counts = read_counts(written(tmp_path, *reversed(rows)))
    # Two prompts of the same text are two problems.
    assert numbers(counts) == [(3, 2, 0)] * 2
    assert [name.partition(" ")[2] for name in counts.problem_ids] == ["q", "q (2)"]
    with pytest.raises(DataError, match="line 2: uid 'a1_0_0' is a duplicate of line 1"):
        read_counts(written(tmp_path, rows[0], rows[0]))


def test_a_uid_of_another_form_is_no_key(tmp_path: Path) -> None:
    assert numbers(read_counts(written(tmp_path, verl(uid="8f14"), verl(uid="9a2b")))) == [(2, 2, 0)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([verl_score(score=0.3)], "line 1: score 0.3 is neither 0 or 1 nor -1 or 1: a reward is not a verdict"),
        ([verl_score(score=float("nan"))], "line 1: score nan is neither"),
        ([verl_score(score=None)], "line 1: score None is neither"),
        ([verl(acc="yes")], "line 1: acc 'yes' is neither"),
        ([verl_score(score=-1), verl_score(score=0)], ": score is 0 in line 2 and -1 in line 1: it must be 0 or 1"),
        ([verl(), verl_score()], "line 2: the key 'acc' is missing"),
        ([verl(), verl(step=40)], r" holds 2 training steps \(20, 40\), so several policies"),
        ([verl(input=["q"])], r"line 1: input must be text, got \['q'\]"),
        ([{"input": "q", "output": "a"}], "no column of verdicts, found: "),
    ],
)
def test_a_bad_dump_of_verl_is_said(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_counts(written(tmp_path, *rows))
    assert "\n" not in str(caught.value)
