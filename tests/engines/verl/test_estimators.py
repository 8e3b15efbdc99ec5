"""A real verl finds our estimators: by its entry point, by VERL_USE_EXTERNAL_MODULES, in both orders of import."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("verl")

FOUND = "from verl.trainer.ppo.core_algos import get_adv_estimator_fn as f; print(f('ngrpo').__module__)"


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process of its own: what an import does shows only once in each."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


@pytest.mark.parametrize(
    ("code", "environment"),
    [
        (f"import verl; {FOUND}", {}),
        (FOUND, {}),
        (f"import ngrpo.adapters.verl; import verl; {FOUND}", {}),
        (f"import ngrpo.adapters.verl; {FOUND}", {"VERL_USE_EXTERNAL_PLUGINS": "none"}),
        (
            f"import verl; {FOUND}",
            {"VERL_USE_EXTERNAL_PLUGINS": "none", "VERL_USE_EXTERNAL_MODULES": "ngrpo.adapters.verl"},
        ),
        (f"import verl; {FOUND}", {"VERL_USE_EXTERNAL_MODULES": "ngrpo.adapters.verl"}),
    ],
)
def test_found_in_every_order(code, environment):
    done = run(code, **environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-1] == "ngrpo.adapters.verl"
    assert "ngrpo:" not in done.stderr


def test_a_misspelt_setting_ends_verls_entry_point_in_one_line_before_ray(tmp_path):
    command = ["-m", "verl.trainer.main_ppo", "algorithm.adv_estimator=ngrpo", f"hydra.run.dir={tmp_path}"]
    done = subprocess.run(
        [sys.executable, *command, "+algorithm.ngrpo.num_virtul=1"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
    )
    line = (
        "algorithm.ngrpo.num_virtul: estimator ngrpo does not have this setting; allowed: num_virtual, std, calibrate"
    )
    assert done.returncode == 1
    assert [said for said in done.stderr.splitlines() if said.startswith(line)], done.stderr
    assert "Traceback" not in done.stderr
    assert "ray init" not in done.stdout


def test_a_nan_score_is_told_once_with_what_it_does_to_verls_averages():
    code = """
import torch
from ngrpo.adapters.verl import estimator_of
scores = torch.tensor([[0.0], [float("nan")], [1.0]])
for _ in range(2):
    estimator_of("ngrpo")(scores, torch.ones(3, 1), index=["a"] * 3)
"""
    said = [line for line in run(code).stderr.splitlines() if line.startswith("ngrpo:")]
    assert len(said) == 1
    assert said[0].startswith("ngrpo: 1 of 3 rows are ungraded (score NaN) and get advantage 0; verl averages all rows")


def test_a_failing_import_says_why():
    code = "import sys; sys.modules['ngrpo.methods'] = None; import verl"
    done = run(code)
    assert "ngrpo: estimators cannot be registered with verl: ModuleNotFoundError" in done.stderr


def test_a_whole_batch_of_verl_through_its_own_compute_advantage():
    code = """
import numpy as np, torch
from omegaconf import OmegaConf
from verl import DataProto
from verl.trainer.ppo.ray_trainer import compute_advantage
rewards = torch.tensor([0., 1., 0., 0., 0., 1., 0., float("nan")])
scores, mask = torch.zeros(8, 3), torch.ones(8, 3, dtype=torch.long)
scores[:, 1] = rewards
uid = np.array(["a", "b", "a", "b", "a", "b", "a", "b"], dtype=object)
data = DataProto.from_dict(
    tensors={"token_level_rewards": scores, "response_mask": mask}, non_tensors={"uid": uid})
config = OmegaConf.create({"adv_estimator": "ngrpo", "ngrpo": {"num_virtual": 2}})
found = compute_advantage(data, "ngrpo", config=config).batch["advantages"]
from ngrpo.methods import NGRPO
valid = ~rewards.isnan()
expected = NGRPO(num_virtual=2).advantages(rewards.view(4, 2).T.nan_to_num(), valid.view(4, 2).T).T.flatten()
assert torch.allclose(found, expected[:, None].expand(8, 3), atol=1e-6), (found, expected)
print("equal")
"""
    done = run(code)
    assert done.stdout.split()[-1:] == ["equal"], done.stderr[-2000:]
