"""Pathologies planted in a real run are each found; healthy seeds have no warning; others' logs give equal shares."""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngrpo.diagnosis import diagnose, read_log
from ngrpo.diagnosis.cures import CURES
from ngrpo.errors import ConfigError

DATA = Path(__file__).parent / "data"
HOSTILE = "\x1b]0;title\x07\x1b[2J</script>\u202e"


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def warnings(path):
    return {diagnosed.found.name: diagnosed for diagnosed in diagnose(read_log(path)).warnings}


def by_group(rows):
    groups = defaultdict(list)
    for row in rows:
        groups[row["step"], row["problem_id"]].append(row)
    return groups.values()


def is_wrong(group):
    return not any(row["status"] == "correct" for row in group)


def same_answers(rows):
    for group in filter(is_wrong, by_group(rows)):
        for row in group:
            row["answer"] = row["completion"] = group[0]["answer"] or "1"


def no_grades(rows):
    for row in rows[::9]:
        row.update(status="ungraded", reward=0.0, answer=None)


def missed_boxes(rows):
    for row in rows[::20]:
        row.update(completion=rf"so \boxed{{{row['completion']}}}", status="no_answer", answer=None, reward=0.0)


def both_ways(rows):
    row = next(row for row in rows if row["status"] == "correct")
    twin = next(other for other in rows if other["problem_id"] == row["problem_id"] and other is not row)
    twin.update(answer=row["answer"], status="wrong", reward=0.0)


def wrong_reference(rows):
    group = next(group for group in by_group(rows) if is_wrong(group))
    for row in group:
        row.update(answer="42", reference="43")


def cut(rows):
    for row in rows[::4]:
        row["finish_reason"] = "length"


def never_ends(rows):
    for row in rows:
        row["finish_reason"] = "length"


def one_prompt(rows):
    for row in rows:
        if "prompt" in row:
            row["prompt"] = "Solve this: {question}"


def two_starts(rows):
    for row in rows:
        if "prompt" in row:
            row["prompt"] = "<s><s>" + row["prompt"]


def shuffled_advantages(rows):
    advantages = [row["advantage"] for row in rows]
    random.Random(0).shuffle(advantages)
    for row, advantage in zip(rows, advantages, strict=True):
        row["advantage"] = advantage


def no_success(rows):
    for row in rows:
        row.update(status="wrong", reward=0.0)


def longer(rows):
    for row in rows:
        row["num_tokens"] *= row["step"]


def hacked(rows):
    for row in rows:
        row["reward"] = min(1.0, row["reward"] + 0.2 * row["step"])
        row["second_reward"] = 0.3 - 0.05 * row["step"]


def still_ratio(metrics):
    for step in metrics:
        step["policy/approx_kl"] = 0.0


def falling_entropy(metrics):
    for step in metrics:
        step["policy/entropy"] *= 0.3 ** step["step"]


def longer_steps(metrics):
    for step in metrics:
        step["completion/mean_tokens"] *= step["step"]


PLANTED = [
    ("collapse", "rollouts", same_answers),
    ("ungraded", "rollouts", no_grades),
    ("box-without-answer", "rollouts", missed_boxes),
    ("graded-both-ways", "rollouts", both_ways),
    ("references-never-reached", "rollouts", wrong_reference),
    ("truncation", "rollouts", cut),
    ("no-end-token", "rollouts", never_ends),
    ("identical-prompts", "rollouts", one_prompt),
    ("doubled-start-token", "rollouts", two_starts),
    ("advantages-out-of-order", "rollouts", shuffled_advantages),
    ("no-signal", "rollouts", no_success),
    ("length-drift", "rollouts", longer),
    ("reward-without-verdict", "rollouts", hacked),
    ("ratio-never-leaves-one", "metrics", still_ratio),
    ("entropy-collapse", "metrics", falling_entropy),
    ("length-drift", "metrics", longer_steps),
]


@pytest.mark.parametrize(("name", "file", "plant"), PLANTED, ids=[plant.__name__ for _, _, plant in PLANTED])
def test_a_planted_pathology_is_found(healthy_runs, tmp_path, name, file, plant):
    path = tmp_path / f"{file}.jsonl"
    rows = lines(healthy_runs[0] / f"{file}.jsonl")
    plant(rows)
    write(path, rows)
    found = warnings(path)
    assert name in found
    assert found[name].cure
    assert found[name].source
    assert found[name].found.text


def test_healthy_seeds_have_no_warning(healthy_runs):
    for run in healthy_runs:
        assert warnings(run) == {}
        assert warnings(run / "rollouts.jsonl") == {}
        assert warnings(run / "metrics.jsonl") == {}


def test_a_real_run_of_one_update_never_leaves_ratio_one(tmp_path):
    import ngrpo
    from tests.diagnosis.conftest import CONFIG, SETTINGS

    settings = [*SETTINGS, "run.steps=2", "optimizer.updates_per_step=1"]
    run = ngrpo.train(CONFIG, tmp_path / "run", overrides=settings, progress=False)
    assert "ratio-never-leaves-one" in warnings(run.path)


def shares(groups):
    """Returns the shares of all-wrong, all-correct and mixed groups by counting, and GRPO's share with gradient."""
    wrong = sum(all(reward == 0 for reward in group) for group in groups)
    right = sum(all(reward == 1 for reward in group) for group in groups)
    mixed = sum(len(group) for group in groups if len(set(group)) > 1) / sum(map(len, groups))
    return wrong / len(groups), right / len(groups), (len(groups) - wrong - right) / len(groups), mixed


def diagnosed_shares(path):
    facts = {d.found.name: d.found for d in diagnose(read_log(path)).findings}
    parts = facts["groups"].text.partition(": ")[2].split(", ")
    wrong, right, mixed = (float(part.rpartition(" ")[2].rstrip("%")) / 100 for part in parts[:3])
    return wrong, right, mixed, facts["methods"].number


def test_shares_of_trl_are_those_counted_by_hand():
    rows = pyarrow.parquet.read_table(DATA / "trl_completions.parquet").to_pylist()
    groups = defaultdict(list)
    for row in rows:
        groups[row["prompt"]].append(row["countdown"])
    assert {len(group) for group in groups.values()} == {4}
    expected = shares(list(groups.values()))
    assert expected[0] == 0.75
    assert diagnosed_shares(DATA / "trl_completions.parquet") == pytest.approx(expected)


def test_shares_of_verl_are_those_counted_by_hand():
    groups = defaultdict(list)
    for row in lines(DATA / "verl_dump.jsonl"):
        groups[row["uid"].split("_")[0]].append(row["score"])
    expected = shares(list(groups.values()))
    assert expected[0] == 0.875
    assert diagnosed_shares(DATA / "verl_dump.jsonl") == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "kind", "steps"), [("trl_trainer_state.json", "trl", 3), ("verl_metrics.jsonl", "verl", 2)]
)
def test_metrics_of_trl_and_verl(name, kind, steps):
    log = read_log(DATA / name)
    assert log.kind == kind
    assert len(log.metrics) == steps
    for ours in ("policy/entropy", "completion/mean_tokens", "update/grad_norm", "reward/mean"):
        assert len(log.series(ours)) == steps


def test_traces_of_prime_rl(tmp_path):
    rows = [
        {
            "id": str(i),
            "ok": i != 7,
            "group": {"id": f"g{i // 4}"},
            "task": {"idx": i // 4},
            "traces": [{"rewards": {"correct": float(i == 0), "format": 0.0}, "info": {"advantage": 0.1}}],
        }
        for i in range(8)
    ]
    folder = tmp_path / "rollouts" / "step_3" / "train" / "all"
    folder.mkdir(parents=True)
    write(folder / "traces.jsonl", rows)
    log = read_log(tmp_path / "rollouts")
    assert log.kind == "prime-rl"
    assert [len(group) for group in log.groups] == [4, 4]
    assert {row.step for row in log.rows} == {3}
    assert [row.reward for row in log.rows] == [1.0, 0, 0, 0, 0, 0, 0, None]


def test_exports_of_trackers(tmp_path):
    with (tmp_path / "wandb.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Step", "run-1 - train/entropy", "run-1 - train/reward"])
        writer.writerows([step, 1.0 * 0.4**step, 0.1] for step in range(8))
    assert set(warnings(tmp_path / "wandb.csv")) == {"entropy-collapse"}
    with (tmp_path / "run-x-tag-actor_entropy.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Wall time", "Step", "Value"])
        writer.writerows([0.0, step, 0.4**step] for step in range(8))
    assert set(warnings(tmp_path / "run-x-tag-actor_entropy.csv")) == {"entropy-collapse"}
    (tmp_path / "entropy.json").write_text(json.dumps([[0.0, step, 0.4**step] for step in range(8)]))
    assert set(warnings(tmp_path / "entropy.json")) == {"entropy-collapse"}


def test_a_table_with_group_and_reward(tmp_path):
    with (tmp_path / "t.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["group_id", "reward"])
        writer.writerows([g, int(g == 0 and s == 0)] for g in range(4) for s in range(4))
    log = read_log(tmp_path / "t.csv")
    assert diagnosed_shares(tmp_path / "t.csv") == pytest.approx((0.75, 0.0, 0.25, 0.25))
    assert log.kind == "table"


def test_torn_lines_bad_bytes_and_a_line_of_a_megabyte(healthy_runs, tmp_path):
    whole = (healthy_runs[0] / "rollouts.jsonl").read_bytes().splitlines()
    long = {**json.loads(whole[1]), "completion": "x" * 1_000_000 + HOSTILE}
    broken = [
        whole[0],
        json.dumps(long).encode(),
        whole[2].replace(b'"wrong"', b'"\xff\xfe"'),
        b"{not json",
        *whole[3:],
    ]
    (tmp_path / "rollouts.jsonl").write_bytes(b"\n".join(broken)[:-20])
    assert len(read_log(tmp_path / "rollouts.jsonl").rows) == len(whole) - 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b"", "holds no rows"),
        ("a.jsonl", b'{"a": 1}\n', "not a log that can be diagnosed"),
        ("a.csv", b"a,b\n1,2\n", "not a log that can be diagnosed"),
        ("a.parquet", b"PAR1", "not a parquet file"),
        ("a.bin", b"x", "unknown ending"),
        ("a.json", b"[1, 2]", "holds no rows"),
    ],
)
def test_what_is_no_log_is_one_line(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        read_log(tmp_path / name)
    with pytest.raises(ConfigError, match="no such file"):
        read_log(tmp_path / "none")


def test_every_finding_has_a_cure_for_each_tool():
    for cure in CURES.values():
        assert all(cure)
    assert len({name for name, _, _ in PLANTED}) >= 12


def test_the_evaluation_of_a_run_is_a_second_verdict(healthy_runs, tmp_path):
    run = shutil.copytree(healthy_runs[0], tmp_path / "run")
    metrics = lines(run / "metrics.jsonl")
    for step in metrics:
        step["reward/mean"] = 0.1 * step["step"]
    write(run / "metrics.jsonl", metrics)
    for step, value in ((0, 0.2), (4, 0.1)):
        folder = run / "eval" / f"{step:06d}" / "countdown"
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(json.dumps({"pass_at_k": {"1": value}}))
    assert "reward-without-verdict" in warnings(run)


COLUMNS = (
    ("step", "problem_id", "sample", "status", "reward", "answer", "completion", "prompt", "advantage", "num_tokens"),
    ("step", "input", "output", "score", "gts", "uid", "acc", "pred"),
    ("step", "prompt", "completion", "advantage", "f", "g"),
    ("step", "traces", "group", "task", "ok"),
    ("step", "data"),
    ("log_history",),
    ("group", "reward", "answer", "length"),
    ("step", "entropy", "reward"),
)
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.one_of(st.integers(0, 1), st.fixed_dictionaries({"reward": st.integers(0, 1)})), max_size=2),
    st.dictionaries(st.sampled_from(["id", "step", "entropy"]), st.integers(0, 1), max_size=2),
)


@settings(max_examples=60)
@given(
    st.sampled_from(COLUMNS).flatmap(
        lambda names: st.lists(st.fixed_dictionaries(dict.fromkeys(names, CELLS)), min_size=1, max_size=6)
    )
)
def test_any_cells_are_diagnosed_or_refused(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("any") / "a.jsonl"
    write(path, rows)
    with suppress(ConfigError):
        json.dumps([found.to_json() for found in diagnose(read_log(path)).findings])
