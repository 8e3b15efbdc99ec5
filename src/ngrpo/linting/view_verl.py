"""verl's Hydra config or overrides as a view; keys and defaults are those of `ppo_trainer` in verl 0.9."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ngrpo.adapters.verl_names import estimator_names
from ngrpo.linting.view import UNKNOWN, ConfigView, Located, Setting

ACTOR, ROLLOUT, ALGORITHM = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "algorithm"

DEFAULTS: Mapping[str, tuple[str, Any]] = {
    "estimator": (f"{ALGORITHM}.adv_estimator", "gae"),
    "group_size": (f"{ROLLOUT}.n", 1),
    "problems_per_step": ("data.train_batch_size", 1024),
    "problems_per_update": (f"{ACTOR}.ppo_mini_batch_size", 256),
    "passes": (f"{ACTOR}.ppo_epochs", 1),
    "lr": (f"{ACTOR}.optim.lr", 1e-6),
    "clip": (f"{ACTOR}.clip_ratio", 0.2),
    "clip_low": (f"{ACTOR}.clip_ratio_low", 0.2),
    "clip_high": (f"{ACTOR}.clip_ratio_high", 0.2),
    "dual_clip": (f"{ACTOR}.clip_ratio_c", 3.0),
    "loss": (f"{ACTOR}.policy_loss.loss_mode", "vanilla"),
    "verl_aggregate": (f"{ACTOR}.loss_agg_mode", "token-mean"),
    "divides_by_deviation": (f"{ALGORITHM}.norm_adv_by_std_in_grpo", True),
    "uses_kl": (f"{ACTOR}.use_kl_loss", False),
    "kl_weight": (f"{ACTOR}.kl_loss_coef", 0.001),
    "uses_kl_in_reward": (f"{ALGORITHM}.use_kl_in_reward", False),
    "kl_reward_weight": (f"{ALGORITHM}.kl_ctrl.kl_coef", 0.001),
    "filter_enabled": (f"{ALGORITHM}.filter_groups.enable", False),
    "refill_limit": (f"{ALGORITHM}.filter_groups.max_num_gen_batches", 0),
    "max_reward": (f"{ALGORITHM}.ngrpo.max_reward", 1.0),
    "num_virtual": (f"{ALGORITHM}.ngrpo.num_virtual", 1),
    "temperature": (f"{ROLLOUT}.temperature", 1.0),
    "sampled": (f"{ROLLOUT}.do_sample", True),
    "top_p": (f"{ROLLOUT}.top_p", 1.0),
    "top_k": (f"{ROLLOUT}.top_k", -1),
    "sampler": (f"{ROLLOUT}.name", None),
    "importance": (f"{ALGORITHM}.rollout_correction.rollout_is", None),
    "uses_sampler_logprobs": (f"{ALGORITHM}.rollout_correction.bypass_mode", False),
    "weight_dtype": (f"{ACTOR}.fsdp_config.model_dtype", "fp32"),
    "lora_rank": ("actor_rollout_ref.model.lora_rank", 0),
    "max_prompt_tokens": ("data.max_prompt_length", 512),
    "max_completion_tokens": ("data.max_response_length", 512),
    "dynamic_batch": (f"{ACTOR}.use_dynamic_bsz", False),
    "token_budget": (f"{ACTOR}.ppo_max_token_len_per_gpu", 16384),
    "sequence_parallel": (f"{ACTOR}.ulysses_sequence_parallel_size", 1),
    "context": (f"{ROLLOUT}.max_model_len", None),
    "eval_samples": (f"{ROLLOUT}.val_kwargs.n", 1),
    "eval_temperature": (f"{ROLLOUT}.val_kwargs.temperature", 0),
    "eval_sampled": (f"{ROLLOUT}.val_kwargs.do_sample", False),
    "gpus": ("trainer.n_gpus_per_node", 8),
    "nodes": ("trainer.nnodes", 1),
}
"""Neutral name -> verl's key and default."""

AGGREGATES = {
    "token-mean": "token_mean",
    "seq-mean-token-mean": "sequence_mean",
    "seq-mean-token-sum": "constant",
    "seq-mean-token-sum-norm": "constant",
}
OWN_ESTIMATORS = {"gae": "ppo", "grpo": "grpo", "rloo": "rloo"}
OVERLONG = ("reward_model.reward_kwargs.overlong_buffer_cfg", "reward.reward_kwargs.overlong_buffer_cfg")


def view_of_verl(
    raw: Mapping[str, Located],
    *,
    style: Literal["yaml", "override"],
    repeated: Mapping[str, int] | None = None,
) -> ConfigView:
    """Returns the view of verl's settings; keys are dotted and without `+`."""
    settings = {}
    for name, (key, default) in DEFAULTS.items():
        given = key in raw
        value = raw[key].value if given else default
        settings[name] = Setting(key, value, raw[key].line if given else 0, given)
    estimator, loss = settings["estimator"], settings["loss"]
    methods = {**OWN_ESTIMATORS, **estimator_names()}
    settings["method"] = estimator._replace(value=methods.get(str(estimator.value), estimator.value))
    aggregate = settings["verl_aggregate"]
    settings["aggregate"] = aggregate._replace(value=AGGREGATES.get(str(aggregate.value), UNKNOWN))
    settings["ratio_level"] = loss._replace(value="sequence" if loss.value == "gspo" else "token")
    settings["kl_coefficient"] = _weight(settings["uses_kl"], settings["kl_weight"])
    settings["kl_in_reward"] = _weight(settings["uses_kl_in_reward"], settings["kl_reward_weight"])
    enabled = settings["filter_enabled"]
    settings["filter"] = enabled._replace(value={True: "all", False: "none"}.get(enabled.value, UNKNOWN))
    settings["updates_per_step"] = _updates(settings)
    importance = settings["importance"]
    corrected = importance.value if importance.value is UNKNOWN else importance.value is not None
    settings["importance_correction"] = importance._replace(value=corrected)
    if not settings["eval_sampled"].value:  # verl samples greedily unless told otherwise
        settings["eval_temperature"] = settings["eval_sampled"]._replace(value=0.0)
    for prefix in OVERLONG:
        length, switch = raw.get(f"{prefix}.len"), raw.get(f"{prefix}.enable")
        if length is not None and (switch is None or switch.value is True):
            settings["overlong_buffer"] = Setting(f"{prefix}.len", length.value, length.line, given=True)
    return ConfigView("verl", raw, settings, repeated=repeated or {}, style=style)


def _weight(switch: Setting, weight: Setting) -> Setting:
    """Returns a weight that counts only where its switch is on."""
    if switch.value is UNKNOWN or weight.value is UNKNOWN:
        return weight._replace(value=UNKNOWN)
    if not switch.value:
        return switch._replace(value=0.0)
    return weight if weight.given else switch._replace(value=weight.value)


def _updates(settings: Mapping[str, Setting]) -> Setting:
    values = [settings[name].value for name in ("problems_per_step", "problems_per_update", "passes")]
    key = settings["problems_per_update"]
    if not all(isinstance(value, int) and value > 0 for value in values):
        return key._replace(value=UNKNOWN)
    step, update, passes = values
    return key._replace(value=-(-step // update) * passes)
