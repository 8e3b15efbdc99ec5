"""One pass over rollouts: kinds and answers as by hand, every line accounted for, whatever it holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ngrpo.filters import group_kinds
from ngrpo.report.rollout_scan import ScannedGroup, number, scan_rollouts

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
KEYS = ("step", "problem_id", "sample", "status", "reward", "advantage", "answer", "completion", "prompt", "num_tokens")


def row(step: int = 1, problem: str = "p", sample: int = 0, reward: float = 0.0, **more: Any) -> dict[str, Any]:
    status = "correct" if reward >= 1 else "wrong"
    return {"step": step, "problem_id": problem, "sample": sample, "status": status, "reward": reward, **more}


def scanned(path: Path, *rows: dict[str, Any]) -> list[ScannedGroup]:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return scan_rollouts(path).groups


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.booleans()), min_size=1, max_size=6))
def test_kinds_are_those_of_the_filters(members: list[tuple[float, bool]]):
    group = ScannedGroup(1, "p", rewards=[reward if graded else None for reward, graded in members])
    kinds = group_kinds(torch.tensor([[r for r, _ in members]]), valid=torch.tensor([[g for _, g in members]]))
    (expected,) = [kind for kind in ("all_wrong", "mixed", "all_correct", "ungraded") if getattr(kinds, kind).item()]
    assert group.kind(1.0) == expected


def test_answers_and_dead_groups(tmp_path: Path):
    answers = ["a", "a", None, "b"]
    rows = [row(sample=at, answer=answer, advantage=0.0) for at, answer in enumerate(answers)]
    (group,) = scanned(tmp_path / "r", *rows)
    assert group.answer_kind() == "some"
    assert group.is_dead()
    (group,) = scanned(tmp_path / "r", row(advantage=None), row(sample=1, advantage=-0.5))
    assert not group.is_dead()
    (group,) = scanned(tmp_path / "r", row(completion="x"), row(sample=1, completion="y", answer=None))
    assert group.answer_kind() == "different", "without answers the completions count"
    (group,) = scanned(tmp_path / "r", row(answer="1"), row(sample=1, answer="1"))
    assert group.answer_kind() == "same"


def test_a_problem_that_is_sampled_twice_in_a_step_makes_two_groups(tmp_path: Path):
    groups = scanned(tmp_path / "r", *(row(sample=sample) for sample in (0, 1, 0, 1)), row(step=2))
    assert [(group.step, len(group.rewards)) for group in groups] == [(1, 2), (1, 2), (2, 1)]


def test_torn_and_damaged_lines_are_counted_and_left_out(tmp_path: Path):
    path = tmp_path / "rollouts.jsonl"
    good = json.dumps(row()).encode()
    path.write_bytes(b"\n".join([good, b"\xff\xfe", b"[1]", b'{"step": "x"}', b"", b"9" * 5000, good[:20]]))
    found = scan_rollouts(path)
    assert (found.rollouts, found.damaged) == (1, 5)


@settings(max_examples=40)
@given(rows=st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, VALUES)), max_size=6))
def test_no_row_stops_it(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("rows") / "rollouts.jsonl"
    path.write_bytes(b"".join(json.dumps(one).encode() + b"\n" for one in rows))
    found = scan_rollouts(path)
    assert found.rollouts + found.damaged == len(rows)
    assert sum(len(group.offsets) for group in found.groups) == found.rollouts
    assert all(group.kind(1.0) for group in found.groups)


def test_only_finite_numbers_are_numbers():
    assert [number(value) for value in (1, 0.5, True, "1", None, float("nan"), 10**400)] == [1.0, 0.5, *[None] * 5]
