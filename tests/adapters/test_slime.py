"""slime's hooks, called with what slime hands them (0.3.1 and 624b824)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ngrpo.adapters.slime import advantages, keep_group, rewards_to_advantages
from ngrpo.advantages import ngrpo_advantages
from ngrpo.errors import ConfigError


def arguments(**settings):
    given = {"advantage_estimator": "grpo", "normalize_advantages": False, "reward_key": None}
    return SimpleNamespace(**{**given, "n_samples_per_prompt": 3, "rollout_max_response_len": 100, **settings})


def samples(*rewards, size=3, length=5):
    return [
        SimpleNamespace(group_index=i // size, index=i, reward=r, response_length=length, remove_sample=False)
        for i, r in enumerate(rewards)
    ]


def rank(*rewards, indices=None, masks=None):
    """One rank's rollout data: a token more in each row."""
    lengths = range(1, len(rewards) + 1)
    return {
        "local_raw_reward": list(rewards),
        "rewards": [0.0] * len(rewards),  # slime's normalised ones
        "sample_indices": list(range(len(rewards))) if indices is None else indices,
        "loss_masks": masks or [torch.ones(n) for n in lengths],
        "kl": [torch.zeros(n) for n in lengths],
    }


def test_the_whole_batch_becomes_raw_rewards_and_advantages():
    batch = samples(0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    batch = [batch[i] for i in (3, 0, 1, 4, 2, 5)]  # groups found by their index, wherever their samples stand
    raw, values = rewards_to_advantages(arguments(), batch)
    ours = ngrpo_advantages(torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])).flatten()
    assert raw == [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    assert values == ours[[3, 0, 1, 4, 2, 5]].tolist()
    assert not any(sample.remove_sample for sample in batch)


def test_ungraded_and_filtered_samples_are_removed():
    batch = samples(0.0, None, 0.0, 1.0, 1.0, 1.0, float("nan"), None, 0.0)
    raw, values = rewards_to_advantages(arguments(), batch)
    assert raw == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    pair = ngrpo_advantages(torch.zeros(1, 2))[0].tolist()
    assert values == [pair[0], 0.0, pair[1], *[0.0] * 6]
    # All-correct groups are filtered, and of the last one a single grade is known.
    assert [sample.remove_sample for sample in batch] == [False, True, False, *[True] * 6]


def test_settings_come_from_the_custom_config():
    batch = samples(0.0, 0.0, 1.0)
    _, values = rewards_to_advantages(arguments(ngrpo={"name": "psr_nsr", "positive_weight": 0.5}), batch)
    assert values == [-1.0, -1.0, 0.5]
    rewarded = [SimpleNamespace(**{**vars(s), "reward": {"accuracy": s.reward}}) for s in batch]
    raw, _ = rewards_to_advantages(arguments(reward_key="accuracy"), rewarded)
    assert raw == [0.0, 0.0, 1.0]


def test_dapos_penalty_for_length_is_in_the_advantages_but_not_in_the_raw_rewards():
    batch = samples(0.0, 1.0, 1.0)
    batch[1].response_length = 95
    table = {"name": "dapo", "overlong_buffer_tokens": 10}
    raw, values = rewards_to_advantages(arguments(ngrpo=table), batch)
    assert raw == [0.0, 1.0, 1.0]
    assert values[0] < values[1] < values[2]
    shaped = torch.tensor([0.0, 0.5, 1.0])
    assert values == pytest.approx(((shaped - shaped.mean()) / (shaped.std() + 1e-6)).tolist())


def test_a_group_is_kept_as_the_method_filters():
    assert keep_group(arguments(), samples(0.0, 0.0, 0.0))
    assert keep_group(arguments(), samples(0.0, 1.0, None))
    assert not keep_group(arguments(), samples(1.0, 1.0, 1.0))
    assert not keep_group(arguments(), samples(0.0, None, None))
    assert not keep_group(arguments(ngrpo={"name": "dapo"}), samples(0.0, 0.0, 0.0), evaluation=False)


def test_a_rank_with_whole_groups_gets_its_advantages():
    data = rank(0.0, 0.0, 0.0, 1.0, 0.0, 0.0, indices=[3, 12, 4, 13, 5, 14])
    advantages(arguments(), data)
    ours = ngrpo_advantages(torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])).T.flatten().tolist()
    assert [set(row.tolist()) for row in data["advantages"]] == [{value} for value in ours]
    assert [len(row) for row in data["advantages"]] == [1, 2, 3, 4, 5, 6]
    assert all(torch.equal(a, r) for a, r in zip(data["advantages"], data["returns"], strict=True))


def test_normalised_rewards_are_never_taken_for_raw_ones():
    """slime 0.3.1 has no `local_raw_reward`."""
    data = rank(0.0, 0.0, 1.0)
    del data["local_raw_reward"]
    with pytest.raises(ConfigError, match="this slime normalises a rank's rewards; allowed is --disable-rewards-norm"):
        advantages(arguments(), data)
    with pytest.raises(ConfigError, match="this slime normalises"):
        advantages(arguments(rewards_normalization=False, custom_reward_post_process_path="a.b"), data)
    data["rewards"] = [0.0, 0.0, 1.0]
    advantages(arguments(rewards_normalization=False), data)
    ours = ngrpo_advantages(torch.tensor([[0.0, 0.0, 1.0]]))[0].tolist()
    assert [float(row[0]) for row in data["advantages"]] == ours


def test_rows_without_reward_or_tokens_are_left_out_on_a_rank():
    data = rank(0.0, None, 0.0, 0.0, 0.0, 0.0)
    data["loss_masks"][4] = torch.zeros(5)
    advantages(arguments(), data)
    pair = ngrpo_advantages(torch.zeros(1, 2))[0, 0].item()
    assert [float(row[0]) for row in data["advantages"]] == [pair, 0.0, pair, pair, 0.0, pair]


def test_a_torn_group_is_an_error_that_names_the_way():
    with pytest.raises(ConfigError, match=r"group 1 has 1 of its 3 samples .*rewards_to_advantages"):
        advantages(arguments(), rank(0.0, 0.0, 0.0, 1.0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ngrpo": {"name": "ppo"}}, "needs a critic, which slime does not have"),
        ({"ngrpo": {"name": "rl_zvp"}}, "need entropies"),
        ({"ngrpo": {"nme": "ngrpo"}}, "slime: unknown key 'nme'; did you mean 'name'"),
        ({"ngrpo": "grpo"}, "args.ngrpo is 'grpo'; allowed is a table"),
        ({"advantage_estimator": "ppo"}, "advantage_estimator is 'ppo'"),
        ({"normalize_advantages": True}, "normalize_advantages True"),
    ],
)
def test_what_slime_cannot_express_is_an_error(settings, message):
    with pytest.raises(ConfigError, match=message):
        rewards_to_advantages(arguments(**settings), samples(0.0, 0.0, 1.0))


def test_samples_without_a_group_are_an_error():
    batch = samples(0.0)
    batch[0].group_index = None
    with pytest.raises(ConfigError, match="a sample has no group_index"):
        rewards_to_advantages(arguments(), batch)
