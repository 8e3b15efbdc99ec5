"""The later rivals have the settings that docs/methods.md lists, and ask their pure functions and losses."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from ngrpo import advantages
from ngrpo.advantages import grpo_advantages
from ngrpo.errors import ConfigError
from ngrpo.losses import PolicyLoss, cispo_policy_loss, clipped_policy_loss, gspo_policy_loss
from ngrpo.methods import METHODS, RLZVP, load_method
from ngrpo.methods.method import GroupMethod, Method

GROUP_METHODS = {name for name, method in METHODS.items() if issubclass(method, GroupMethod)}
REWARDS = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.5], [1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
VALID = torch.tensor([[True] * 4, [True, True, False, True], [True] * 4, [True, True, True, False]])

FUNCTIONS: list[tuple[dict[str, Any], Any]] = [
    ({"name": "corpo"}, advantages.corpo_advantages),
    ({"name": "corpo", "min_correct_reward": 0.2}, partial(advantages.corpo_advantages, min_correct_reward=0.2)),
    ({"name": "maxrl"}, advantages.maxrl_advantages),
    ({"name": "asymre"}, advantages.asymre_advantages),
    ({"name": "asymre", "baseline_shift": 0.2}, partial(advantages.asymre_advantages, baseline_shift=0.2)),
    ({"name": "reinforce_rej"}, advantages.reinforce_rej_advantages),
    ({"name": "reinforce_rej", "max_reward": 0.5}, partial(advantages.reinforce_rej_advantages, max_reward=0.5)),
    ({"name": "pass_at_k"}, advantages.pass_at_k_advantages),
    (
        {"name": "pass_at_k", "k": 2, "max_reward": 0.5},
        partial(advantages.pass_at_k_advantages, k=2, max_reward=0.5),
    ),
    ({"name": "pkpo"}, advantages.pkpo_advantages),
    ({"name": "pkpo", "k": 2}, partial(advantages.pkpo_advantages, k=2)),
    ({"name": "sova"}, advantages.sova_advantages),
    (
        {"name": "sova", "positive_weight": 0.5, "negative_weight": 1.0, "max_reward": 0.5},
        partial(advantages.sova_advantages, positive_weight=0.5, negative_weight=1.0, max_reward=0.5),
    ),
    ({"name": "gspo"}, grpo_advantages),
    ({"name": "cispo", "std": "population"}, partial(grpo_advantages, std="population")),
]


@pytest.mark.parametrize(("table", "function"), FUNCTIONS, ids=lambda v: str(v) if isinstance(v, dict) else "")
def test_advantages_are_those_of_the_pure_function(table: dict[str, Any], function: Any) -> None:
    method = load_method(table)
    assert torch.equal(method.advantages(REWARDS), function(REWARDS))
    assert torch.equal(method.advantages(REWARDS, VALID), function(REWARDS, valid=VALID))


def subclasses(kind: type[Method]) -> set[type[Method]]:
    return {kind, *(found for child in kind.__subclasses__() for found in subclasses(child))}


def test_every_method_can_be_named() -> None:
    ours = {found for found in subclasses(Method) if found.__module__.startswith("ngrpo.")}
    assert ours - {Method, GroupMethod} == set(METHODS.values())


LOSSES = {"clipped": clipped_policy_loss, "gspo": gspo_policy_loss, "cispo": cispo_policy_loss}


def numbers(out: PolicyLoss) -> list[Tensor]:
    return [out.loss, out.clip_low_fraction, out.clip_high_fraction, out.approx_kl]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("loss", [None, *LOSSES])
def test_the_policy_loss_is_the_pure_function_under_the_methods_settings(name: str, loss: str | None) -> None:
    method = load_method({"name": name} if loss is None else {"name": name, "loss": loss})
    generator = torch.Generator().manual_seed(0)
    new, old = (-torch.rand(4, 3, generator=generator) for _ in range(2))
    advantages, mask = torch.tensor([1.0, -1.0, 0.5, 0.0]), torch.tensor([[1, 1, 0]] * 4)
    bounds = {"clip_low": method.clip_low, "clip_high": method.clip_high}
    expected = LOSSES[method.loss](new, old, advantages, mask, **bounds, aggregate=method.aggregate, denominator=5.0)
    actual = method.token_losses(new, old, advantages, mask).aggregated(mask, method.aggregate, 5.0)
    assert torch.equal(torch.stack(numbers(actual)), torch.stack(numbers(expected)))
    assert (method.loss == "clipped") == (name not in {"gspo", "cispo"} if loss is None else loss == "clipped")


def test_tokens_have_the_advantage_of_their_completion_unless_entropies_shape_it() -> None:
    mask = torch.tensor([1, 1, 0]).expand(4, 4, 3)
    entropies = torch.rand(4, 4, 3, generator=torch.Generator().manual_seed(0))
    for name in GROUP_METHODS - {"rl_zvp"}:
        method = load_method({"name": name})
        expected = method.advantages(REWARDS, VALID)[..., None].expand(4, 4, 3) * mask
        assert torch.equal(method.token_advantages(REWARDS, entropies, mask, VALID), expected)
    zvp = RLZVP(alpha=0.3)
    shaped = zvp.token_advantages(REWARDS, entropies, mask, VALID)
    assert torch.equal(shaped, advantages.rl_zvp_advantages(REWARDS, entropies, mask, alpha=0.3, valid=VALID))
    torch.testing.assert_close(shaped[1:2, :, 0], zvp.advantages(REWARDS, VALID)[1:2])
    assert (zvp.advantages(REWARDS)[[0, 2]] == 0).all()
    assert zvp.needs_entropies


@pytest.mark.parametrize("name", sorted(GROUP_METHODS))
def test_the_least_group_size_is_where_a_gradient_first_appears(name: str) -> None:
    method = load_method({"name": name})
    assert isinstance(method, GroupMethod)
    if method.needs_entropies:  # alone, a completion still learns by them
        assert method.least_group_size() == 1
        return
    if name == "sova":  # its all-wrong side is off, its all-correct side on
        assert method.least_group_size() == 1
    sizes = [size for size in range(1, 9) if _gives_gradient(method, size)]
    assert sizes == list(range(method.least_group_size(), 9))


def _gives_gradient(method: Method, size: int) -> bool:
    """True when some binary group of this size, as many wrong as there can be first, has an advantage that is not 0."""
    groups = torch.ones(size + 1, size).tril(-1)
    return bool((method.advantages(groups) != 0).any())


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "pkpo", "k": 1}, "'k': "),
        ({"name": "pass_at_k", "k": 0}, "'k': "),
        ({"name": "sova", "positive_weight": 2.0}, "'positive_weight': "),
        ({"name": "ngrpo", "loss": "ppo"}, "'loss': "),
        ({"name": "rl_zvp", "alpha": -1.0}, "'alpha': "),
        ({"name": "corpo", "min_correct": 0.5}, "did you mean 'min_correct_reward'"),
    ],
)
def test_wrong_settings_are_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_method(table)
