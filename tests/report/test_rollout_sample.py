"""The browser's groups: within their room, evenly over the steps, the same problems for every run, whole groups."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from benchmarks.report import made_up_run

from ngrpo.methods import METHODS
from ngrpo.report.report_html import embedded_json
from ngrpo.report.reported_run import read_run
from ngrpo.report.rollout_sample import in_order_of_choice, packed_rollouts
from ngrpo.report.rollout_scan import ScannedGroup

ROOM = 900_000


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("large")
    runs = [read_run(made_up_run(folder / name, 8_000, 200, seed=seed).path, name) for seed, name in enumerate("ab")]
    return packed_rollouts(runs, ROOM)


def test_a_large_run_is_sampled_into_its_room_and_says_so(packed):
    size = len(embedded_json(packed).encode())
    assert 0.8 * ROOM < size <= ROOM
    assert packed["total"] == 16_000
    assert packed["shown"] == sum(len(group[7]) for group in packed["groups"]) < 16_000
    assert {len(group[7]) for group in packed["groups"]} == {8}


def test_steps_have_equal_shares_and_runs_the_same_groups(packed):
    by_run = [[group for group in packed["groups"] if group[0] == run] for run in (0, 1)]
    counts = Counter(group[1] for group in by_run[0])
    assert set(counts) == set(range(1, 101))
    assert max(counts.values()) - min(counts.values()) <= 1
    a, b = ({(group[1], group[2]) for group in groups} for groups in by_run)
    assert len(a & b) > 0.9 * len(a)


def test_order_of_choice_does_not_depend_on_the_order_in_the_file():
    groups = [ScannedGroup(step, f"p{number}") for step in range(3) for number in range(9)]
    forwards, backwards = (
        [(group.step, group.problem) for group in in_order_of_choice(given)] for given in (groups, groups[::-1])
    )
    assert forwards == backwards
    assert {step for step, _ in forwards[:3]} == {0, 1, 2}


def test_advantages_are_those_of_the_methods(packed):
    import torch

    from ngrpo.methods import GroupMethod, load_method

    group = next(group for group in packed["groups"] if group[3] == "mixed")
    rewards, rows = packed["tables"][group[6]]
    values = torch.tensor([[completion[2] for completion in group[7]]], dtype=torch.float64)
    assert packed["methods"] == list(METHODS)
    for name, row in zip(packed["methods"], rows, strict=True):
        method = load_method({"name": name})
        if not isinstance(method, GroupMethod):
            assert row is None
            continue
        shown = [row[rewards.index(reward)] for reward in values[0].tolist()]
        assert shown == pytest.approx(method.advantages(values)[0].tolist(), rel=1e-3, abs=1e-9), name


def test_a_group_that_a_filter_drops_has_no_advantage(packed):
    rows = {name: at for at, name in enumerate(packed["methods"])}
    wrong = next(group for group in packed["groups"] if group[3] in ("different", "some", "same"))
    _, table = packed["tables"][wrong[6]]
    assert table[rows["dapo"]] == [0.0]
    assert table[rows["ngrpo"]][0] < 0


def test_ungraded_completions_have_rows_of_their_own(two_runs: list[Path]):
    from ngrpo.report.method_advantages import AdvantageTables

    tables = AdvantageTables([read_run(two_runs[0], "a")])
    place, size = tables.place_of(0, [1.0, None, 0.0, 0.0])
    assert tables.place_of(0, [0.0, 0.0, 1.0, None]) == (place, 0), "order does not matter"
    assert size > 0
    ((rewards, rows),) = tables.tables()
    assert rewards == [None, 0.0, 1.0]
    ngrpo = rows[list(METHODS).index("ngrpo")]
    assert ngrpo[0] == 0.0
    assert ngrpo[1] < 0 < ngrpo[2]
