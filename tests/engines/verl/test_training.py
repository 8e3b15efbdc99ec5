"""verl's own entry point on a real local Ray, without a GPU: two steps of the shipped model, advantages traced."""

from __future__ import annotations

import math
import os
import signal

import pytest
import torch

pytest.importorskip("verl")

from ngrpo.advantages import ngrpo_advantages
from ngrpo.engines.verl.verl_files import VerlFiles
from ngrpo.runs.run_dir import RunDir


def groups_of(row):
    """Rewards and advantages of each group; a row's own advantage is that of its first token."""
    groups = {}
    for uid, reward, mask, advantages in zip(row["uids"], row["rewards"], row["mask"], row["advantages"], strict=True):
        if any(mask):
            assert all(math.isclose(a, advantages[0] * m, abs_tol=1e-9) for a, m in zip(advantages, mask, strict=True))
            groups.setdefault(uid, []).append((reward, advantages[0]))
    return [tuple(map(list, zip(*members, strict=True))) for members in groups.values()]


def test_two_steps_of_one_worker(one_worker):
    run, trace, *_ = one_worker
    check_steps(run, trace, problems=16, group_size=8, updates=1)
    for line in run.read_metrics():
        assert line["update/entropy"] > 0
        assert (line["policy/ref_kl"] > 0) == (line["step"] > 1)


def test_phases_are_shown_and_the_log_repeats_no_warning(one_worker):
    run, *_ = one_worker
    said = (run.path.parent / "said.txt").read_text().splitlines()
    phases = ["preparing the problems", "starting verl and Ray", "loading the model", "starting the sampler"]
    assert [line for line in said if line in phases] == phases
    log = VerlFiles(run.path).log.read_text(errors="replace")
    assert log.count("No model-specific Continuous Token builder") == 1  # of the one process that samples
    assert "target_num_threads" not in log


def test_two_steps_of_two_workers_with_groups_dropped_and_refilled(tmp_path, verl_run):
    run, trace = verl_run(tmp_path).train(
        2, ("method.filter=all", "sampling.group_size=4", "sampling.problems_per_step=8")
    )
    check_steps(run, trace, problems=8, group_size=4, updates=2)
    for row, line in zip(trace, run.read_metrics(), strict=True):
        assert all(max(rewards) == 1 for rewards, _ in groups_of(row))
        assert line["batch/rounds"] > 1
        assert line["batch/sampled_groups"] > 8
        assert line["group/all_wrong"] > 0  # counted before the filter


def check_steps(run, trace, *, problems, group_size, updates):
    metrics = run.read_metrics()
    assert len(trace) == len(metrics) == 2
    for row, told in zip(trace, metrics, strict=True):
        groups = groups_of(row)
        assert len(groups) == told["batch/groups"] == problems
        for rewards, advantages in groups:
            assert len(rewards) == group_size
            expected = ngrpo_advantages(torch.tensor([rewards]))[0]
            torch.testing.assert_close(torch.tensor(advantages), expected, atol=1e-6, rtol=0)
            assert min(rewards) < 1
        # The sampler and the trainer agree on every token, after the update of the weights as before.
        assert told["policy/sampler_gap_probability_max"] < 1e-4
        assert told["update/grad_norm"] > 1e-3
        assert told["update/count"] == updates
        check_rollouts(run, told, groups)
    assert run.latest_checkpoint()[0] == 2
    assert (run.latest_checkpoint()[1] / "model.safetensors").is_file()
    assert metrics[1]["total/updates"] == 2 * updates


def check_rollouts(run, told, groups):
    """The step's rollouts are those that verl trained on, with their advantages, and those that were dropped."""
    rollouts = [line for line in run.read_rollouts() if line["step"] == told["step"]]
    assert len(rollouts) == told["batch/sampled_groups"] * len(groups[0][0])
    trained = [(line["reward"], line["advantage"]) for line in rollouts if line["advantage"] is not None]
    traced = [pair for rewards, advantages in groups for pair in zip(rewards, advantages, strict=True)]
    for ours, theirs in zip(sorted(trained), sorted(traced), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)
    assert {line["status"] for line in rollouts} <= {"correct", "wrong", "no_answer"}
    assert all(0 < line["num_tokens"] <= 16 for line in rollouts)
    assert told["reward/mean"] == pytest.approx(sum(line["reward"] for line in rollouts) / len(rollouts))


def test_a_killed_run_leaves_no_process_resumes_and_ends_with_the_error_of_a_dead_worker(tmp_path, verl_run):
    run = verl_run(tmp_path)
    settings = ("run.steps=30", "run.save_every=1")
    process = run.start(1, settings)
    run.wait_until(lambda: run.steps()[:1] == [1] or process.poll() is not None)
    process.kill()
    run.wait_until_gone()
    saved = int(run.files.newest_checkpoint.read_text())

    process = run.start(1, settings, "--resume")
    run.wait_until(lambda: run.steps()[-1:] > [saved] or process.poll() is not None)
    assert run.steps()[: saved + 1] == list(range(1, saved + 2)), run.said
    (server,) = [pid for pid, command in run.processes.pids().items() if command.startswith("ray::Server")]
    os.kill(server, signal.SIGKILL)
    run.wait_until(lambda: process.poll() is not None)
    assert process.returncode == 1
    assert "the Ray worker ngrpo_cpu_0 has died" in run.said.splitlines()[-1]
    run.wait_until_gone()
    assert {line["step"] for line in RunDir.open(run.run_folder).read_rollouts()} == set(run.steps())
