"""verl's estimators: the pure function with torch alone, their registration where verl is installed."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from ngrpo.adapters import verl as adapter
from ngrpo.adapters.flat_batch import row_advantages
from ngrpo.errors import ConfigError, MissingDependencyError
from ngrpo.methods import DAPO, METHODS, NGRPO, GroupMethod, load_method

SCALAR = [n for n, kind in METHODS.items() if issubclass(kind, GroupMethod) and not kind.needs_entropies]


def batch(rewards, *, groups=4, length=5, seed=0):
    """A batch as verl has it: groups torn apart, each row with its reward on its last token."""
    generator = torch.Generator().manual_seed(seed)
    count = len(rewards)
    lengths = torch.randint(1, length + 1, (count,), generator=generator)
    mask = (torch.arange(length) < lengths[:, None]).long()
    scores = torch.zeros(count, length)
    scores[torch.arange(count), lengths - 1] = torch.tensor(rewards)
    return scores, mask, [f"uid{i % groups}" for i in range(count)]


@pytest.mark.parametrize("name", SCALAR)
def test_each_row_has_the_advantage_that_its_group_gives_it(name):
    method = load_method({"name": name})
    rewards = torch.randint(0, 2, (32,), generator=torch.Generator().manual_seed(1)).float()
    rewards[0::4] = 0.0  # an all-wrong group
    rewards[1::4] = 1.0  # an all-correct one
    scores, mask, uids = batch(rewards.tolist())
    advantages = adapter.token_level_advantages(method, scores, mask, uids)
    expected = method.advantages(rewards.view(8, 4).T).T.flatten()
    assert torch.equal(advantages, expected[:, None] * mask)


def test_padding_and_ungraded_rows_are_in_no_group():
    nan = float("nan")
    scores, mask, uids = batch([0.0, 1.0, 1.0, nan, 0.0, 0.0], groups=1)
    mask[5] = 0
    advantages = adapter.token_level_advantages(NGRPO(), scores, mask, uids)
    kept = [0, 1, 2, 4]
    expected = row_advantages(NGRPO(), torch.tensor([0.0, 1.0, 1.0, 0.0]), [0] * 4)
    assert torch.equal(advantages[kept], expected[:, None] * mask[kept])
    assert not advantages[[3, 5]].any()
    assert advantages.isfinite().all()


def test_the_estimator_takes_its_settings_from_the_algorithm_config():
    scores, mask, uids = batch([0.0] * 8, groups=1)
    estimator = adapter.estimator_of("ngrpo")
    two, returns = estimator(scores, mask, index=uids, config={"ngrpo": {"num_virtual": 2}}, gamma=1.0)
    assert torch.equal(two, returns)
    assert torch.equal(two, adapter.token_level_advantages(NGRPO(num_virtual=2), scores, mask, uids))
    default, _ = estimator(token_level_rewards=scores, response_mask=mask, index=uids, config=None)
    assert torch.equal(default, adapter.token_level_advantages(NGRPO(), scores, mask, uids))
    with pytest.raises(ConfigError, match="no uids"):
        estimator(scores, mask, config=None)


def test_dapos_overlong_penalty_needs_the_limit():
    scores, mask, uids = batch([1.0] * 8, groups=1, length=10)
    with pytest.raises(ConfigError, match=r"\+algorithm\.ngrpo\.max_completion_tokens=N"):
        adapter.estimator_of("dapo")(scores, mask, index=uids, config={})
    config = {"ngrpo": {"overlong_buffer_tokens": 6, "max_completion_tokens": 10}}
    found, _ = adapter.estimator_of("dapo")(scores, mask, index=uids, config=config)
    method = DAPO(overlong_buffer_tokens=6)
    shaped = method.shaped_rewards(torch.ones(8), mask.sum(dim=1), 10)
    assert torch.equal(found, method.advantages(shaped[None])[0][:, None] * mask)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip_low": 0.1}, "set it where verl has it"),
        ({"virtual": 2}, "allowed: num_virtual"),
        ({"num_virtual": -1}, "greater than or equal to 0"),
    ],
)
def test_a_wrong_setting_is_one_line(settings, message):
    with pytest.raises(ConfigError, match=message):
        adapter.method_of("ngrpo", settings)


def test_names_that_verl_has_stay_its_own():
    names = adapter.estimator_names()
    assert set(names.values()) == set(SCALAR)
    assert names["ngrpo_grpo"] == "grpo"
    assert names["ngrpo_rloo"] == "rloo"
    assert not {"grpo", "rloo"} & set(names)
    assert names["w_reinforce"] == names["psr_nsr"] == "psr_nsr"


def test_without_verl_importing_is_harmless_and_registering_says_what_is_missing(monkeypatch):
    code = "import sys; sys.modules['verl'] = None; import ngrpo.adapters.flat_batch"
    subprocess.run([sys.executable, "-c", code], check=True)
    monkeypatch.setitem(sys.modules, "verl", None)
    with pytest.raises(MissingDependencyError, match="verl"):
        adapter.register()


def test_registered_in_verl():
    pytest.importorskip("verl")
    from verl.trainer.ppo.core_algos import get_adv_estimator_fn

    names = adapter.register()
    assert adapter.register() == names  # a second time changes nothing
    assert {"ngrpo", "psr_nsr", "w_reinforce", "ngrpo_grpo"} <= set(names)
    for name in names:
        assert get_adv_estimator_fn(name).__module__ == "ngrpo.adapters.verl"
    for name in ("grpo", "rloo"):
        assert get_adv_estimator_fn(name).__module__ == "verl.trainer.ppo.core_algos"


def test_the_loss_is_verls_own_and_says_which_side_of_the_clip_binds():
    pytest.importorskip("verl")
    from verl.trainer.ppo.core_algos import compute_policy_loss_vanilla, get_policy_loss_fn
    from verl.workers.config import ActorConfig

    config = ActorConfig(
        strategy="fsdp2",
        rollout_n=2,
        ppo_micro_batch_size_per_gpu=1,
        clip_ratio_low=0.16,
        clip_ratio_high=0.24,
        clip_ratio_c=1e9,
    )
    old = torch.zeros(2, 4)
    new = torch.tensor([[0.5, 0.1, 0.3, 0.0], [-0.5, -0.1, 0.5, -0.9]], requires_grad=True)
    advantages = torch.tensor([[1.0], [-2.0]]).expand(2, 4)
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0]])
    given = (old, new, advantages, mask, "token-mean", config)
    ours, metrics = get_policy_loss_fn("ngrpo_clipped")(*given)
    theirs, their_metrics = compute_policy_loss_vanilla(*given)
    assert torch.equal(ours, theirs)
    (gradient,) = torch.autograd.grad(ours, new)
    assert gradient.count_nonzero() == 3  # of six tokens, three are clipped
    assert metrics["actor/clip_high_fraction"] == pytest.approx(2 / 6)
    assert metrics["actor/clip_low_fraction"] == pytest.approx(1 / 6)
    assert metrics["actor/pg_clipfrac"] == pytest.approx(3 / 6)
    assert their_metrics.items() <= metrics.items()
