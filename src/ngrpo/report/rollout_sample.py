"""The groups that the page's browser shows: all of a small run, of a large one as many as the page has room for.

The choice is a hash of step and problem, so that runs of the same problems show the same groups; every step has its
share.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import IO, Any

from ngrpo.report.method_advantages import AdvantageTables
from ngrpo.report.reported_run import ReportedRun
from ngrpo.report.rollout_scan import ScannedGroup, number, parsed_line
from ngrpo.report.visible_text import visible, visible_line

ROOM = 5_400_000
"""Bytes for the groups of all runs."""
MOST_TEXT, MOST_PROMPT, MOST_ANSWER = 2_000, 1_500, 200
"""Characters of a completion, a prompt and an answer; longer ones are cut, and say so."""

Packed = dict[str, Any]


def packed_rollouts(runs: Sequence[ReportedRun], room: int = ROOM) -> Packed:
    """Returns what the browser reads.

    `groups` are [run, step, problem, kind, prompt, reference, advantages, completions]; a completion is [text, status,
    reward, logged advantage, tokens, answer, finish reason]. `advantages` is a place in `tables`, which hold a row for
    each of `methods`; `own` is each run's method. `shown` and `total` count the completions.
    """
    tables = AdvantageTables(runs)
    groups: list[list[Any]] = []
    for place, run in enumerate(runs):
        if run.scan.rollouts:
            groups += _packed(place, run, tables, room // len(runs))
    return {
        "runs": [run.name for run in runs],
        "own": [run.method for run in runs],
        "methods": tables.methods,
        "notes": tables.notes,
        "tables": tables.tables(),
        "groups": groups,
        "shown": sum(len(group[-1]) for group in groups),
        "total": sum(run.scan.rollouts for run in runs),
    }


def in_order_of_choice(groups: Iterable[ScannedGroup]) -> list[ScannedGroup]:
    """Returns the groups, the first of each step before the second of any, in an order that only a hash decides."""
    by_step: dict[int, list[tuple[bytes, int, ScannedGroup]]] = {}
    for place, group in enumerate(groups):
        by_step.setdefault(group.step, []).append((_digest(group.problem, group.step), place, group))
    ranked: list[tuple[int, bytes, int, ScannedGroup]] = []
    for of_step in by_step.values():
        of_step.sort(key=lambda one: one[:2])
        ranked += [(rank, *one) for rank, one in enumerate(of_step)]
    ranked.sort(key=lambda one: (one[0], _digest(str(one[3].step), one[0]), one[2]))
    return [group for *_, group in ranked]


def page_size(packed: Any) -> int:
    """Returns about how many bytes a value takes in the page."""
    return len(json.dumps(packed, ensure_ascii=False).encode("utf-8", "backslashreplace")) + 1


def _digest(text: str, salt: int) -> bytes:
    return hashlib.blake2b(f"{salt} {text}".encode("utf-8", "backslashreplace"), digest_size=8).digest()


def _packed(place: int, run: ReportedRun, tables: AdvantageTables, room: int) -> list[list[Any]]:
    chosen: list[list[Any]] = []
    with run.path.joinpath("rollouts.jsonl").open("rb") as file:
        for group in in_order_of_choice(run.scan.groups):
            rows = _rows(file, group.offsets)
            rewards = [_short(reward) for reward in group.rewards]
            table, more = tables.place_of(place, rewards)
            completions = [_completion(row, group, at) for at, row in enumerate(rows)]
            packed = [place, *_group(group, rows, run.max_reward), table, completions]
            room -= page_size(packed) + more
            if room < 0:
                break
            chosen.append(packed)
    chosen.sort(key=lambda packed: (packed[1], packed[2]))
    return chosen


def _rows(file: IO[bytes], offsets: Sequence[int]) -> list[dict[str, Any]]:
    rows = []
    for offset in offsets:
        file.seek(offset)
        rows.append(parsed_line(file.readline()) or {})
    return rows


def _group(group: ScannedGroup, rows: Sequence[dict[str, Any]], max_reward: float) -> list[Any]:
    kind: str = group.kind(max_reward)
    if kind == "all_wrong":
        kind = group.answer_kind()
    prompt = next((row["prompt"] for row in rows if isinstance(row.get("prompt"), str)), None)
    reference = next((row.get("reference") for row in rows), None)
    return [
        group.step,
        visible_line(group.problem, 160),
        kind,
        None if prompt is None else visible(prompt, MOST_PROMPT),
        None if reference is None else visible(reference, MOST_ANSWER),
    ]


def _completion(row: dict[str, Any], group: ScannedGroup, at: int) -> list[Any]:
    answer, tokens = row.get("answer"), number(row.get("num_tokens"))
    return [
        visible(row.get("completion", ""), MOST_TEXT),
        group.statuses[at],
        _short(group.rewards[at]),
        _short(group.advantages[at]),
        None if tokens is None else int(tokens),
        None if answer is None else visible(answer, MOST_ANSWER),
        visible_line(row.get("finish_reason") or "", 20),
    ]


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
