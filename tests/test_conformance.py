"""Numbers that the reference implementation printed, to 1e-5: a part of them ships with the repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ngrpo.advantages import (
    grpo_advantages,
    ngrpo_advantages,
    nsr_advantages,
    psr_advantages,
    rloo_advantages,
    w_reinforce_advantages,
)
from ngrpo.gae import gae_advantages
from ngrpo.losses import clipped_policy_loss
from tests.shared import SHARED

SHIPPED = Path(__file__).parent / "data" / "conformance"


@pytest.fixture(params=["shipped", "shared"])
def folder(request: pytest.FixtureRequest) -> Path:
    if request.param == "shipped":
        return SHIPPED
    beside = SHARED / "conformance"
    if not beside.is_dir():
        pytest.skip(f"no folder {beside}; NGRPO_SHARED may name another")
    return beside


def entries(folder: Path, name: str) -> list[dict[str, Any]]:
    found = json.loads((folder / f"{name}.json").read_text())
    assert found
    return found


def assert_close(actual: torch.Tensor, expected: Any) -> None:
    torch.testing.assert_close(actual.double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-5)


def test_advantages(folder: Path) -> None:
    for entry in entries(folder, "advantages"):
        rewards, max_reward = torch.tensor(entry["rewards"]), entry["max_reward"]
        # In groups of one the reference skips the virtual completion and we do not; the files hold none.
        assert rewards.shape[1] > 1
        calibrated = ngrpo_advantages(rewards, max_reward=max_reward, num_virtual=entry["num_virtual"])
        assert_close(calibrated, entry["ngrpo"])
        assert_close(grpo_advantages(rewards), entry["grpo"])
        assert_close(rloo_advantages(rewards), entry["rloo"])
        if "psr" in entry:
            assert_close(psr_advantages(rewards, max_reward=max_reward), entry["psr"])
            assert_close(nsr_advantages(rewards, max_reward=max_reward), entry["nsr"])
            assert_close(w_reinforce_advantages(rewards, max_reward=max_reward), entry["w_reinforce"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gae(folder: Path, dtype: torch.dtype) -> None:
    for entry in entries(folder, "gae"):
        rewards, values, mask = (torch.tensor(entry[key], dtype=dtype) for key in ("rewards", "values", "mask"))
        gae = gae_advantages(rewards, values, mask, gamma=entry["gamma"], lam=entry["lam"])
        # The reference whitens padding too and leaves the result there; here it is 0.
        assert_close(gae.advantages, (torch.tensor(entry["advantages"]).double() * mask).tolist())
        assert_close(gae.returns, entry["returns"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_policy_loss_gradient_and_clip_fraction(folder: Path, dtype: torch.dtype) -> None:
    for entry in entries(folder, "policy_loss"):
        new = torch.tensor(entry["new"], dtype=dtype, requires_grad=True)
        old, advantages, mask = (torch.tensor(entry[key], dtype=dtype) for key in ("old", "adv", "mask"))
        clips = {"clip_low": entry["clip_low"], "clip_high": entry["clip_high"]}
        out = clipped_policy_loss(new, old, advantages, mask, **clips)
        (gradient,) = torch.autograd.grad(out.loss, new)
        assert_close(out.loss, entry["loss"])
        assert_close(out.clip_low_fraction + out.clip_high_fraction, entry["clipfrac"])
        assert_close(out.approx_kl, entry["ppo_kl"])
        assert_close(gradient, entry["grad"])
