"""The fast reader and the careful one give the same counts and the same errors, whatever the bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngrpo.errors import NgrpoError
from ngrpo.evaluation.samples import counts, fast_reader
from ngrpo.evaluation.samples.counts import read_counts


def outcome(path: Path, fast_from: int, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(counts, "FAST_FROM", fast_from)
    try:
        found = read_counts(path)
    except NgrpoError as error:
        return type(error), str(error)
    return found.problem_ids, found.n.tolist(), found.c.tolist(), found.ungraded.tolist(), found.reasons


def both(path: Path) -> tuple[object, object, int]:
    """The outcomes of both ways, and whether the fast one had the last word."""
    said = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(
            counts, "arrow_verdicts", lambda *a, **k: said.append(fast_reader.arrow_verdicts(*a, **k)) or said[-1]
        )
        monkeypatch.setattr(fast_reader, "CHUNK", 200)
        fast = outcome(path, 0, monkeypatch)
        careful = outcome(path, 2**60, monkeypatch)
    return fast, careful, sum(one is not None for one in said)


def ours(p: int, i: int, **changes: Any) -> dict[str, Any]:
    row = {"problem_id": f"p²{p}", "sample": i, "completion": 'a "b"\n{}\\', "status": "correct" if i % 3 else "wrong"}
    return row | {"nested": {"a": [1, None, 2.5]}} | changes


def theirs(q: int, g: int, **changes: Any) -> dict[str, Any]:
    return {
        "question_id": q,
        "generation_id": g,
        "label": g % 3 == 0,
        "response": "}\n{",
        "pred_answer": None,
    } | changes


OURS = [json.dumps(ours(p, i), ensure_ascii=p == 1).encode() for i in range(4) for p in (2, 1)]
THEIRS = [json.dumps(theirs(q, g)).encode() for g in range(4) for q in (2, 1)]


@pytest.mark.parametrize("lines", [OURS, THEIRS], ids=["ours", "theirs"])
def test_ordinary_files_are_read_fast(tmp_path: Path, lines: list[bytes]) -> None:
    for end in (b"", b"\n", b"\n  "):
        path = tmp_path / "samples.jsonl"
        path.write_bytes(b"\n".join(lines) + end)
        fast, careful, by_arrow = both(path)
        assert (fast, by_arrow) == (careful, 1)
        assert fast[1] == [4, 4]  # type: ignore[index]


def test_seeds_steps_and_reasons_are_read_fast(tmp_path: Path) -> None:
    rows = [ours(p, i, seed=s, step=3) for s in (0, 9) for i in range(3) for p in (0, 1)]
    rows += [ours(5, 0, status="ungraded", reason="timeout", step=3), ours(5, 1, status="ungraded", step=3)]
    path = tmp_path / "samples.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    fast, careful, by_arrow = both(path)
    assert (fast, by_arrow) == (careful, 1)
    assert fast == (("p²0", "p²1", "p²5"), [6, 6, 0], [4, 4, 0], [0, 0, 2], {"timeout": 1})


ODD = [
    *(b"", b"  ", b"{", b"}", b"[1]", b"null", b"{}", b'{"a": 1}{"a": 2}', b"\xff", b"\0", b"\xef\xbb\xbf"),
    *(json.dumps(ours(p, 4, **changes)).encode() for p in (1, 7) for changes in (
        {}, {"status": "no_answer"}, {"status": "right"}, {"status": None}, {"sample": -1}, {"sample": 4.0},
        {"sample": True}, {"sample": 2**63}, {"sample": None}, {"sample": 9}, {"problem_id": 1}, {"problem_id": None},
        {"seed": 0}, {"seed": None}, {"seed": 3, "sample": 0}, {"seed": -1}, {"seed": "1"}, {"step": 1}, {"step": "1"},
        {"step": None}, {"status": "ungraded", "reason": "timeout"}, {"status": "ungraded", "reason": 3}, {"reason": 3},
        {"completion": "\ud800"}, {"completion": 3}, {"completion": float("nan")}, {"completion": float("inf")},
    )),
    *(json.dumps(theirs(q, 4, **changes)).encode() for q in (1, 7) for changes in (
        {}, {"label": 1}, {"label": None}, {"label": "true"}, {"label": 0.0}, {"question_id": "1"},
        {"question_id": 2**70}, {"question_id": -5}, {"question_id": 1.5}, {"question_id": None},
        {"generation_id": "0"}, {"generation_id": -1}, {"generation_id": 2**63},
    )),
    b'{"question_id": 1, "question_id": 9, "generation_id": 5, "label": true}',
    b'{"question_id": 1e0, "generation_id": 5, "label": true}',
    b'{"question\\u005fid": 1, "generation_id": 5, "label": true}',
    b'{"question_id": -0, "generation_id": 5, "label": true}',
    b'{"question_id": 01, "generation_id": 5, "label": true}',
    b'{"question_id": 1, "generation_id": 5, "label": true, "a": "\x01"}',
    b'{"question_id": 1, "generation_id": 5, "label": true, "a": "\xff"}',
    b'{"question_id": 1, "generation_id": 5, "label": true} {"question_id": 1, "generation_id": 6, "label": true}',
    b'{"question_id": 1,\n "generation_id": 5, "label": true}',
    b'{"question_id": 1, "b": {}\n, "generation_id": 5, "label": true}',
    b'{"question_id": 1, "generation_id": 5, "label": true}\r',
    b' {"question_id": 1, "generation_id": 5, "label": true}',
    b'{"question_id": 1, "generation_id": 5, "label": true},',
    b'{"question_id": 1, "generation_id": 5, "label": true}}',
    b'{"question_id": 1, "generation_id": 5, "label": true, "a": "' + b"x" * 2 * fast_reader.BLOCK + b'"}',
    b'{"problem_id": "p", "question_id": 1, "generation_id": 5, "label": true, "sample": 0, "status": "wrong"}',
]  # fmt: skip


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_both_ways_agree_on_odd_lines(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    lines = list(data.draw(st.sampled_from([OURS, THEIRS])))
    for line in data.draw(st.lists(st.sampled_from(ODD), min_size=1, max_size=3)):
        lines.insert(data.draw(st.integers(0, len(lines))), line)
    path = tmp_path_factory.mktemp("odd") / "samples.jsonl"
    path.write_bytes(b"\n".join(lines) + data.draw(st.sampled_from([b"", b"\n"])))
    fast, careful, _ = both(path)
    assert fast == careful


@pytest.mark.parametrize("lines", [OURS, THEIRS], ids=["ours", "theirs"])
@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_both_ways_agree_on_each_odd_line(tmp_path: Path, lines: list[bytes], odd: bytes) -> None:
    for place in (0, 3, len(lines)):
        path = tmp_path / "samples.jsonl"
        path.write_bytes(b"\n".join([*lines[:place], odd, *lines[place:]]))
        fast, careful, _ = both(path)
        assert fast == careful


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_both_ways_agree_on_damaged_bytes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(b"\n".join(data.draw(st.sampled_from([OURS, THEIRS]))))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.sampled_from([
            b"", b"\n", b"}", b"{", b"}\n{", b'"', b",", b"\\", b"\0", b"\xe9", b"1", b"-", b" ", b"\r\n", b"[",
        ]))  # fmt: skip
    path = tmp_path_factory.mktemp("damaged") / "samples.jsonl"
    path.write_bytes(content)
    fast, careful, _ = both(path)
    assert fast == careful
