"""The overrides against verl's own Hydra configuration: accepted, and meaning what our config means."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("verl")

from ngrpo.config import config_of, load_config
from ngrpo.engines.verl.networks import NO_DUAL_CLIP
from ngrpo.engines.verl.overrides import verl_command
from ngrpo.engines.verl.raw_overrides import check_schema
from ngrpo.errors import ConfigError
from ngrpo.methods import METHODS

ROOT = Path(__file__).parents[3]
PAPER = ROOT / "configs" / "paper"
CONFIGS = sorted([*PAPER.glob("*.toml"), *(ROOT / "configs" / "countdown").glob("*.toml")])


def composed(config, folder, *, validated=True):
    """What verl makes of our command: its own composition, its own checks, its own dataclasses."""
    from hydra import compose, initialize_config_module
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import omega_conf_to_dataclass, validate_config

    command = verl_command(config, folder)
    assert command[:3] == [sys.executable, "-m", "verl.trainer.main_ppo"]
    with initialize_config_module("verl.trainer.config", version_base=None):
        found = compose("ppo_trainer", overrides=command[3:])
    if validated:  # with LoRA it asks for vLLM
        # With a critic it loads the model, which is not here for those of a hub.
        local = Path(found.actor_rollout_ref.model.path).is_dir()
        validate_config(found, need_reference_policy(found), use_critic=need_critic(found) and local)
    omega_conf_to_dataclass(found.actor_rollout_ref.rollout)
    return found


def small(path, *overrides):
    """A config that eight workers divide."""
    settings = ["evaluation.every=0"] if "evaluation" not in "".join(overrides) else []
    return load_config(path, [*settings, *overrides])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_config_is_accepted_and_means_the_same(path, tmp_path):
    config = small(path)
    found = composed(config, tmp_path)
    actor, rollout = found.actor_rollout_ref.actor, found.actor_rollout_ref.rollout
    assert (actor.clip_ratio_low, actor.clip_ratio_high) == (config.method.clip_low, config.method.clip_high)
    assert actor.clip_ratio_c == NO_DUAL_CLIP
    assert actor.entropy_coeff == config.method.entropy_bonus
    assert actor.use_kl_loss == (config.method.kl_coefficient > 0)
    updates = config.optimizer.updates_per_step // config.optimizer.passes_per_step
    assert actor.ppo_mini_batch_size * updates == found.data.train_batch_size == config.sampling.problems_per_step
    assert (actor.optim.lr, list(actor.optim.betas)) == (config.optimizer.lr, list(config.optimizer.betas))
    assert (rollout.n, rollout.temperature) == (config.sampling.group_size, config.sampling.temperature)
    assert found.trainer.v1.sampler.sampler_kwargs.config_path == str(tmp_path / "verl" / "config.json")
    assert found.algorithm.filter_groups.enable is False
    from verl.trainer.ppo.core_algos import get_adv_estimator_fn

    estimator = get_adv_estimator_fn(found.algorithm.adv_estimator).__name__
    assert (
        estimator == "compute_gae_advantage_return"
        if config.method.name == "ppo"
        else f"{config.method.name}_estimator"
    )


def test_ppo_has_the_same_critic(tmp_path):
    config = load_config(PAPER / "ppo.toml", ["method.critic_warmup_steps=5", "method.lam=0.95"])
    found = composed(config, tmp_path)
    critic, actor = found.critic, found.actor_rollout_ref.actor
    assert (critic.optim.lr, critic.cliprange_value, critic.strategy) == (1e-5, 0.5, "fsdp2")
    assert (found.algorithm.gamma, found.algorithm.lam) == (1.0, 0.95)
    assert (found.algorithm.use_kl_in_reward, found.algorithm.kl_ctrl.kl_coef) == (True, 0.001)
    assert (found.algorithm.kl_ctrl.type, found.algorithm.kl_penalty) == ("fixed", "kl")
    assert found.trainer.critic_warmup == 6
    assert critic.model.path == found.actor_rollout_ref.model.path == config.model.path
    assert critic.model.enable_gradient_checkpointing
    assert (critic.ppo_mini_batch_size, critic.ppo_epochs) == (actor.ppo_mini_batch_size, actor.ppo_epochs)
    assert critic.use_dynamic_bsz
    assert critic.ppo_max_token_len_per_gpu == actor.ppo_max_token_len_per_gpu == 36000
    assert (list(critic.optim.betas), critic.optim.weight_decay) == (list(actor.optim.betas), actor.optim.weight_decay)
    with pytest.raises(ConfigError, match="critic is 'shared'"):
        verl_command(load_config(PAPER / "ppo.toml", ["method.critic=shared"]), tmp_path)


def test_the_papers_setting(tmp_path):
    found = composed(load_config(PAPER / "ngrpo.toml"), tmp_path / "a run's folder, with ${x}")
    actor = found.actor_rollout_ref.actor
    assert found.algorithm.adv_estimator == "ngrpo"
    assert dict(found.algorithm.ngrpo)["num_virtual"] == 1
    assert (actor.clip_ratio_low, actor.clip_ratio_high) == (0.16, 0.24)
    assert (found.data.train_batch_size, actor.ppo_mini_batch_size, found.actor_rollout_ref.rollout.n) == (1024, 256, 8)
    assert (actor.loss_agg_mode, actor.entropy_coeff, actor.use_kl_loss) == ("token-mean", 0.001, False)
    assert (found.data.max_prompt_length, found.data.max_response_length) == (1024, 3072)
    assert (found.trainer.total_training_steps, found.trainer.test_freq, found.trainer.save_freq) == (140, 7, 7)
    assert (found.trainer.nnodes, found.trainer.n_gpus_per_node) == (1, 8)
    assert found.actor_rollout_ref.rollout.val_kwargs.do_sample is False
    folder = tmp_path / "a run's folder, with ${x}"
    assert dict(found.trainer.v1.sampler.sampler_kwargs) == {"config_path": str(folder / "verl" / "config.json")}
    assert found.data.train_files == str(folder / "verl" / "train.parquet")


def test_the_warm_up_is_ours(tmp_path):
    import torch
    from verl.utils.torch_functional import get_cosine_schedule_with_warmup

    config = small(ROOT / "configs" / "countdown" / "ngrpo.toml", "optimizer.warmup_steps=5")
    optim = composed(config, tmp_path).actor_rollout_ref.actor.optim
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_cosine_schedule_with_warmup(
        optimizer, optim.lr_warmup_steps, 150, optim.min_lr_ratio, zero_indexed_step=optim.zero_indexed_step
    )
    rates = []
    for _ in range(7):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 1.0])


def test_every_method_has_an_estimator_or_is_refused(tmp_path):
    refused = {}
    for name in METHODS:
        try:
            composed(small(PAPER / "ngrpo.toml", f"method.name={name}"), tmp_path)
        except ConfigError as error:
            refused[name] = str(error)
    assert all(message.startswith("--engine verl: method") for message in refused.values())
    assert set(refused) == {"rl_zvp"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sampling.sampler=endpoint", "is for evaluation only"),
        ("sampling.old_logprobs=sampler", "recomputes them"),
        ('sampling.keep_special_tokens=["<answer>"]', "verl decodes completions without special tokens"),
        ("task.continue_final_message=true", "verl starts a new assistant message"),
        ("sampling.problems_per_step=1022", "mini-batches are of one size"),
        ("model.device=cpu", "leave it 'auto'"),
        ("evaluation.max_completion_tokens=4096", "with the length of training, 3072"),
        ("sampling.problems_per_step=4", "8 completions, which 8 workers|do not divide"),
        ("model.lora.alpha=1.5", "whole numbers"),
        ("sampling.min_p=0.1", "min_p is not supported"),
        ('sampling.stop=["Q:"]', "stop is not supported"),
        ("sampling.truncated=masked", "truncated 'masked' is not translated"),
        ("run.max_rollouts=9", "max_rollouts and max_tokens are not translated"),
        ("model.router_aux_loss_coef=0.01", "router_aux_loss_coef is not translated"),
        ("optimizer.name=adamw_8bit", "name 'adamw_8bit' is not translated"),
        (
            'cluster.overrides={"actor_rollout_ref.rollout.n" = 4}',
            "'actor_rollout_ref.rollout.n' follows from the rest",
        ),
    ],
)
def test_what_verl_cannot_do_is_an_error(override, message, tmp_path):
    config = load_config(PAPER / "ngrpo.toml", [override, *(["sampling.group_size=3"] if "=4" in override else [])])
    with pytest.raises(ConfigError, match=message) as error:
        verl_command(config, tmp_path)
    assert "\n" not in str(error.value)


def test_evaluations_by_parts_of_a_run_are_refused(tmp_path):
    config = load_config(PAPER / "ngrpo.toml", ["evaluation.every=0", "evaluation.count=3"])
    with pytest.raises(ConfigError, match=r"\[evaluation\] count, .* are not translated"):
        verl_command(config, tmp_path)


def test_lora_constant_aggregate_and_importance_weights(tmp_path):
    config = small(
        PAPER / "ngrpo.toml",
        "model.lora.rank=8",
        "method.aggregate=constant",
        "sampling.importance_cap=2.0",
        "sampling.old_logprobs=recompute",
    )
    found = composed(config, tmp_path, validated=False)
    assert found.actor_rollout_ref.model.lora_rank == 8
    assert found.actor_rollout_ref.model.target_modules == "all-linear"
    assert found.actor_rollout_ref.actor.loss_agg_mode == "seq-mean-token-sum-norm"
    assert found.actor_rollout_ref.actor.loss_scale_factor == 3072
    assert found.algorithm.rollout_correction.rollout_is == "token"
    assert found.algorithm.rollout_correction.rollout_is_threshold == 2.0


def test_raw_settings_of_verl_are_passed_through(tmp_path):
    raw = {
        "actor_rollout_ref": {"actor": {"fsdp_config": {"param_offload": True}}, "rollout": {"max_num_seqs": 64}},
        "actor_rollout_ref.rollout.max_num_batched_tokens": 16384,
        "+actor_rollout_ref.rollout.engine_kwargs.vllm.max_lora_rank": 8,
    }
    tables = {name: table for name, table in load_config(PAPER / "ngrpo.toml").to_json().items() if name != "cluster"}
    config = config_of({**tables, "cluster": {"overrides": raw}})
    assert check_schema(config.cluster.overrides)
    found = composed(config, tmp_path)
    assert found.actor_rollout_ref.actor.fsdp_config.param_offload is True
    assert found.actor_rollout_ref.rollout.max_num_seqs == 64
    assert found.actor_rollout_ref.rollout.max_num_batched_tokens == 16384
    assert found.actor_rollout_ref.rollout.engine_kwargs.vllm.max_lora_rank == 8


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"actor_rollout_ref.actor.fsdp_config.param_offlod": True}, "verl has no setting '.*param_offlod'"),
        ({"actor_rollout_ref.rollout.max_num_batched_tokens": "many"}, "is many, but verl's default is 8192"),
        ({"actor_rollout_ref.rollout.enable_chunked_prefill": 3}, "is 3, but verl's default is true"),
        ({"+actor_rollout_ref.rollout.enable_chunked_prefill": False}, "verl has no setting"),
    ],
)
def test_raw_settings_are_checked_against_verls_schema(raw, message):
    with pytest.raises(ConfigError, match=r"^\[cluster.overrides\] .*" + message) as error:
        check_schema(raw)
    assert "\n" not in str(error.value)


def test_what_the_papers_configs_have_besides_on_gpus(tmp_path):
    """What a user of verl would set for Qwen2.5-Math-7B on 8 x 80 GB."""
    found = composed(load_config(PAPER / "ngrpo.toml"), tmp_path)
    actor, rollout = found.actor_rollout_ref.actor, found.actor_rollout_ref.rollout
    assert (actor.strategy, actor.use_dynamic_bsz, found.actor_rollout_ref.model.use_remove_padding) == (
        "fsdp2",
        True,
        True,
    )
    assert actor.fsdp_config.entropy_from_logits_with_chunking is True
    assert actor.fsdp_config.entropy_checkpointing is True
    assert (rollout.tensor_model_parallel_size, rollout.gpu_memory_utilization) == (1, 0.6)
    assert (rollout.enable_chunked_prefill, rollout.free_cache_engine, rollout.top_k) == (True, True, -1)
    assert found.actor_rollout_ref.ref.fsdp_config.param_offload is False  # there is no reference model
    grpo = composed(load_config(PAPER / "grpo.toml", ["method.kl_coefficient=0.001"]), tmp_path)
    assert grpo.actor_rollout_ref.ref.fsdp_config.param_offload is True
    ppo = composed(load_config(PAPER / "ppo.toml"), tmp_path)
    assert ppo.actor_rollout_ref.rollout.gpu_memory_utilization == 0.5  # two models are trained


def test_an_attention_kernel_by_name(tmp_path):
    found = composed(small(PAPER / "ppo.toml", "model.attention=sdpa", "sampling.top_k=20"), tmp_path)
    assert found.actor_rollout_ref.model.override_config.attn_implementation == "sdpa"
    assert found.critic.model.override_config.attn_implementation == "sdpa"
    assert found.actor_rollout_ref.rollout.top_k == 20
