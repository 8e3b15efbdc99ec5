"""Our replay buffer on a real transfer queue and a local Ray: the batch does not depend on the order of arrival."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("verl")

PROGRAM = Path(__file__).with_name("sampler_program.py")
PROBLEMS, SAMPLES = 6, 12
DROPPED, UNGRADED = 2, (4, 10)
"""The problem that the filter drops, and the problem and sample that could not be graded."""


@pytest.fixture(scope="module")
def batches():
    """What the program prints: a batch for each order in which the same rollouts arrive."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQ_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray listens on loopback
    command = [sys.executable, str(PROGRAM), str(PROBLEMS), str(SAMPLES), str(DROPPED), *map(str, UNGRADED)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_rows_are_in_the_order_of_problems_and_samples_however_they_arrive(batches):
    first, second, third = batches
    assert len({tuple(map(tuple, batch["arrived"])) for batch in batches}) == 3
    assert first["rows"] == second["rows"] == third["rows"]
    kept = [problem for problem in range(PROBLEMS) if problem != DROPPED]
    rows = [[problem, sample] for problem in kept for sample in range(SAMPLES)]
    rows.remove(list(UNGRADED))
    assert first["rows"] == rows


def test_verls_own_averages_of_the_batch_are_of_graded_rows_alone(batches):
    for batch in batches:
        scores = batch["verl"]
        assert scores["critic/score/mean"] == pytest.approx(batch["mean_of_graded"])
        assert (scores["critic/score/min"], scores["critic/score/max"]) == (0.0, 1.0)
        assert scores["critic/rewards/mean"] == scores["critic/score/mean"]
        assert batch["ours"]["reward/ungraded"] == pytest.approx(1 / (PROBLEMS * SAMPLES))


def test_without_the_buffer_one_nan_is_in_all_of_verls_averages(batches):
    for batch in batches:
        assert batch["plain"] == {"critic/score/mean": None, "critic/rewards/mean": None}
