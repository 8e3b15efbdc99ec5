"""TRL's adapter where TRL is missing, and on a TRL whose methods moved; tests/engines/test_trl.py has the real one."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

import ngrpo.adapters
from ngrpo.errors import ConfigError, MissingDependencyError

SOURCE = Path(ngrpo.adapters.__file__).with_name("trl.py")


@dataclass
class GRPOConfig:
    """What the adapter touches of TRL's settings, with TRL's defaults."""

    _VALID_DICT_FIELDS = ()

    gradient_accumulation_steps: int = 1
    generation_batch_size: int | None = None
    num_generations: int = 8
    num_iterations: int = 1
    scale_rewards: str = "group"
    multi_objective_aggregation: str = "sum_then_normalize"
    importance_sampling_level: str = "token"
    use_vllm: bool = False
    vllm_importance_sampling_correction: bool = True
    vllm_importance_sampling_mode: str = "sequence_mask"
    vllm_importance_sampling_clip_min: float | None = None
    vllm_importance_sampling_clip_max: float | None = 3.0

    def __post_init__(self):
        self.scale_rewards = {True: "group", False: "none"}.get(self.scale_rewards, self.scale_rewards)


class Moved:
    """A GRPOTrainer without the private methods."""

    def __init__(self, model, reward_funcs=None, args=None):
        raise AssertionError("the check comes first")


class Renamed(Moved):
    """A GRPOTrainer whose methods take something else."""

    def _calculate_rewards(self, samples):
        return samples

    def _generate_and_score_completions(self, inputs):
        return inputs

    def _get_train_sampler(self, dataset=None):
        return dataset

    def _load_optimizer_and_scheduler(self, checkpoint):
        return checkpoint

    def _save_checkpoint(self, model, trial):
        return model


def adapter(monkeypatch, trainer):
    """The adapter, imported again beside a package trl that has this trainer; None for no trl at all."""
    if trainer is None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    else:
        trl = ModuleType("trl")
        trl.__spec__ = ModuleSpec("trl", None)
        trl.__version__, trl.GRPOConfig, trl.GRPOTrainer = "9.9", GRPOConfig, trainer
        monkeypatch.setitem(sys.modules, "trl", trl)
    for part in ("trl_config", "trl_resume"):
        monkeypatch.setitem(sys.modules, f"ngrpo.adapters.{part}", None)  # so that it is as before after the test
        del sys.modules[f"ngrpo.adapters.{part}"]
    spec = importlib.util.spec_from_file_location("adapter_imported_again", SOURCE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_without_trl_the_first_use_says_what_to_install(monkeypatch):
    module = adapter(monkeypatch, None)
    for use in (lambda: module.NGRPOConfig(output_dir="run"), lambda: module.NGRPOTrainer("model")):
        with pytest.raises(MissingDependencyError, match=r"pip install 'ngrpo\[trl\]'"):
            use()


@pytest.mark.parametrize(
    ("trainer", "what"),
    [
        (Moved, "GRPOTrainer has no _calculate_rewards"),
        (Renamed, r"GRPOTrainer._calculate_rewards takes \(self, samples\)"),
    ],
)
def test_a_trl_whose_methods_moved_is_named(monkeypatch, trainer, what):
    module = adapter(monkeypatch, trainer)
    with pytest.raises(ConfigError, match=rf"TRL 9.9 does not fit: {what}; .*pip install 'trl>=1.16,<1.17'"):
        module.NGRPOTrainer("model", args=module.NGRPOConfig())


def test_the_defaults_are_the_methods_and_the_clip_can_bind(monkeypatch):
    config = adapter(monkeypatch, Moved).NGRPOConfig
    ours = config()
    assert (ours.epsilon, ours.epsilon_high, ours.beta, ours.entropy_coef) == (0.16, 0.24, 0.0, 0.001)
    assert (ours.loss_type, ours.steps_per_generation, ours.use_bias_correction_kl) == ("dapo", 4, False)
    assert ours.method_args["num_virtual"] == 1
    assert ours.method_args["refill"] is False
    grpo = config(method="grpo", gradient_accumulation_steps=2)
    assert (grpo.epsilon, grpo.epsilon_high, grpo.beta, grpo.steps_per_generation) == (0.2, 0.2, 0.001, 8)
    assert config(method="dr_grpo").loss_type == "dr_grpo"
    assert config(generation_batch_size=64).steps_per_generation is None


def test_settings_may_be_given_in_either_language(monkeypatch):
    config = adapter(monkeypatch, Moved).NGRPOConfig
    theirs = config(epsilon=0.1, beta=0.01, loss_type="grpo")
    ours = config(method_args={"clip_low": 0.1, "kl_coefficient": 0.01, "aggregate": "sequence_mean"})
    assert theirs.group_method() == ours.group_method()
    assert config(method_args='{"num_virtual": 3}').group_method().num_virtual == 3


@pytest.mark.parametrize(
    ("method", "given", "resolved"),
    [
        ("ngrpo", [None, True, "group"], "group"),
        ("dapo", [None, "group"], "group"),
        ("dr_grpo", [None, False, "none"], "none"),
        ("psr_nsr", [None, False, "none"], "none"),
    ],
)
def test_scale_rewards_is_accepted_where_the_method_does_the_same(monkeypatch, method, given, resolved):
    config = adapter(monkeypatch, Moved).NGRPOConfig
    assert [config(method=method, scale_rewards=value).scale_rewards for value in given] == [resolved] * len(given)


def test_a_config_keeps_whether_max_reward_was_given(monkeypatch):
    config = adapter(monkeypatch, Moved).NGRPOConfig
    for settings, has in (({}, False), ({"num_virtual": 2}, False), ({"max_reward": 1.0}, True)):
        made = config(method_args=settings)
        again = config(method_args=made.method_args)
        assert made.has_max_reward() is again.has_max_reward() is has
        assert again.group_method() == made.group_method()


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, r"'sequence_mask' leaves whole completions out .* is above 3; 'token_truncate'"),
        (
            {"vllm_importance_sampling_mode": "token_mask", "vllm_importance_sampling_clip_min": 0.5},
            "leaves tokens out",
        ),
        ({"vllm_importance_sampling_mode": "token_truncate"}, None),
        ({"vllm_importance_sampling_correction": False}, None),
        ({"vllm_importance_sampling_clip_max": None}, None),
        ({"use_vllm": False}, None),
    ],
)
def test_the_ratio_filter_of_vllm_is_named_where_it_applies(monkeypatch, caplog, settings, line):
    adapter(monkeypatch, Moved)
    made = sys.modules["ngrpo.adapters.trl_config"].NGRPOConfig(**{"use_vllm": True, **settings})
    sys.modules["ngrpo.adapters.trl_config"].log_differences(made, made.group_method())
    logged = [record.getMessage() for record in caplog.records if "ratio of the trainer" in record.getMessage()]
    assert len(logged) == (line is not None)
    assert line is None or re.search(line, logged[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "ppo"}, "needs a critic, which TRL does not have"),
        ({"method": "rl_zvp"}, "need entropies, which TRL does not give"),
        ({"method": "gspo"}, "has the loss 'gspo', which the TRL adapter does not have"),
        ({"method": "cispo"}, "has the loss 'cispo', which the TRL adapter does not have"),
        ({"method": "nope"}, "TRL: unknown method 'nope'"),
        ({"method_args": {"refill": True}}, "refill is set with filter 'all_correct'"),
        ({"method_args": {"max_refill_factor": 2.0}}, "refill is set"),
        ({"method_args": {"num_virtuals": 2}}, "did you mean 'num_virtual'"),
        ({"method_args": "{"}, "method_args is '{'"),
        ({"method_args": "[1]"}, r"method_args is \[1\]"),
        ({"epsilon": 0.1, "method_args": {"clip_low": 0.2}}, "epsilon says clip_low = 0.1, but method_args says 0.2"),
        ({"loss_type": "sapo"}, "loss_type is 'sapo'; allowed with our methods are 'dapo', 'bnpo', 'grpo', 'dr_grpo'"),
        ({"method": "grpo", "method_args": {"kl_estimator": "k1"}}, "kl_estimator is 'k1'; TRL has only 'k3'"),
        ({"scale_rewards": "batch"}, "scale_rewards is 'batch', but method 'ngrpo' divides by .* allowed is 'group'"),
        ({"scale_rewards": False}, "scale_rewards is 'none', but method 'ngrpo' divides by .* allowed is 'group'"),
        ({"method": "dr_grpo", "scale_rewards": True}, "'dr_grpo' does not divide by .*; allowed is 'none'"),
        ({"method": "rloo", "scale_rewards": "batch"}, "'rloo' does not divide by .*; allowed is 'none'"),
        ({"multi_objective_aggregation": "normalize_then_sum"}, "multi_objective_aggregation is"),
        ({"importance_sampling_level": "sequence"}, "importance_sampling_level is 'sequence'"),
        ({"method": "pass_at_k", "num_generations": 4}, "num_generations is 4; .* are 5 and more"),
        ({"updates_per_generation": 0}, "updates_per_generation is 0"),
    ],
)
def test_what_trl_cannot_express_is_an_error(monkeypatch, settings, message):
    with pytest.raises(ConfigError, match=message):
        adapter(monkeypatch, Moved).NGRPOConfig(**settings)


def test_the_config_of_trl_is_refused(monkeypatch):
    class Fits(Renamed):
        def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
            return inputs

    module = adapter(monkeypatch, Fits)
    with pytest.raises(ConfigError, match="args is GRPOConfig; allowed is NGRPOConfig"):
        module.NGRPOTrainer("model", args=GRPOConfig())
