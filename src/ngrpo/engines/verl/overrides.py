"""From a config to the command of verl 0.9: `python -m verl.trainer.main_ppo` with Hydra overrides.

Every setting is either expressed, or refused with a `ConfigError` that says so. Nothing of verl is imported and no
data are read, so that a command can be shown on a machine that has neither.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ngrpo.adapters.verl_names import LENGTH, estimator_names, estimator_settings
from ngrpo.config.cluster_settings import ClusterSettings
from ngrpo.engines.verl.cpu.cpu_overrides import cpu_environment, cpu_overrides
from ngrpo.engines.verl.expressible import check_expressible, is_float32
from ngrpo.engines.verl.hydra import hydra_override
from ngrpo.engines.verl.networks import actor_overrides, critic_overrides, model_overrides, prefixed
from ngrpo.engines.verl.raw_overrides import with_raw
from ngrpo.engines.verl.verl_files import VerlFiles
from ngrpo.methods import PPO

if TYPE_CHECKING:
    from ngrpo.config import Config

Values = dict[str, Any]

LOGGED = "VERL_FILE_LOGGER_PATH"
"""Where verl writes its metrics."""
EXTERNAL = "VERL_USE_EXTERNAL_MODULES"
"""Modules that every process of verl imports."""
NO_TOP_K = -1
"""verl's `top_k` for all tokens."""
QUIET = "ngrpo.engines.verl.quiet"


def verl_command(config: Config, run_folder: Path, *, resume: bool = False) -> list[str]:
    """Returns the command that trains a config with verl, its results below a run folder.

    Args:
        config: the resolved config; its `[cluster]` table, where it has one, says where.
        run_folder: where the data are (see `write_inputs`) and the results go.
        resume: go on from verl's newest checkpoint there.

    Raises:
        ConfigError: for a setting that verl does not support.
    """
    overrides = verl_overrides(config, run_folder, resume=resume)
    return [sys.executable, "-m", "verl.trainer.main_ppo", *(hydra_override(k, v) for k, v in overrides.items())]


def verl_environment(config: Config, run_folder: Path) -> dict[str, str]:
    """Returns the environment variables that the command needs besides those of the shell."""
    files = VerlFiles(run_folder.resolve())
    variables = {
        LOGGED: str(files.metrics),
        EXTERNAL: QUIET,
        "TOKENIZERS_PARALLELISM": "false",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    cluster = config.cluster
    if not cluster.ray_address and cluster.nodes == 1:
        variables |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # a cluster of one machine stays on loopback
    if cluster.device == "cpu":
        ours = cpu_environment(config)
        variables |= ours | {EXTERNAL: f"{QUIET},{ours[EXTERNAL]}"}
    return variables


def verl_overrides(config: Config, run_folder: Path, *, resume: bool = False) -> Values:
    """Returns what the command sets: Hydra key (with `+` where verl's schema does not know it) -> value.

    Raises:
        ConfigError: for a setting that verl does not support.
    """
    cluster = config.cluster
    check_expressible(config, cluster)
    files = VerlFiles(run_folder.resolve())
    values = {
        **_data(config, files),
        **prefixed("actor_rollout_ref.model.", model_overrides(config, cluster)),
        **_algorithm(config, files),
        **actor_overrides(config, cluster),
        **critic_overrides(config, cluster),
        **_rollout(config, cluster),
        **_reward(files),
        **_trainer(config, cluster, files, resume=resume),
        **_ray(cluster, files),
        "hydra.run.dir": files.folder / "hydra",  # else in the folder that the command was given in
        **(cpu_overrides(config) if cluster.device == "cpu" else {}),
    }
    return with_raw(values, cluster.overrides)


def _data(config: Config, files: VerlFiles) -> Values:
    sampling = config.sampling
    return {
        "data.train_files": files.train,
        "data.val_files": files.validation if config.evaluation.every else files.train,
        "data.train_batch_size": sampling.problems_per_step,
        "data.gen_batch_size": 1,  # so that a refill asks for exactly what is missing
        "data.max_prompt_length": sampling.max_prompt_tokens,
        "data.max_response_length": sampling.max_completion_tokens,
        "data.filter_overlong_prompts": True,
        "data.truncation": "error",
        "data.shuffle": True,
        "data.seed": config.run.seed,
    }


def _algorithm(config: Config, files: VerlFiles) -> Values:
    method, importance_cap = config.method, config.sampling.importance_cap
    values = _gae(method) if isinstance(method, PPO) else _estimator(config)
    if importance_cap > 0:
        values |= {
            "algorithm.rollout_correction.rollout_is": "token",
            "algorithm.rollout_correction.rollout_is_threshold": importance_cap,
        }
    return {
        **values,
        "algorithm.filter_groups.enable": False,  # verl's own drops all-wrong groups, which NGRPO learns from
        "trainer.v1.trainer_mode": "sync",
        "trainer.v1.sampler.custom_sampler.path": "pkg://ngrpo.engines.verl.recording_sampler",
        "trainer.v1.sampler.custom_sampler.name": "RunSampler",
        "+trainer.v1.sampler.sampler_kwargs.config_path": files.config,
    }


def _estimator(config: Config) -> Values:
    method = config.method
    name = next(name for name, method_name in estimator_names().items() if method_name == method.name)
    settings: Values = {key: getattr(method, key) for key in estimator_settings(type(method))}
    if settings.get("overlong_buffer_tokens"):
        settings[LENGTH] = config.sampling.max_completion_tokens
    values: Values = {"algorithm.adv_estimator": name, "algorithm.use_kl_in_reward": False}
    return values | {f"+algorithm.ngrpo.{key}": value for key, value in settings.items()}


def _gae(method: PPO) -> Values:
    return {
        "algorithm.adv_estimator": "gae",
        "algorithm.gamma": method.gamma,
        "algorithm.lam": method.lam,
        "algorithm.use_kl_in_reward": method.reward_kl_coefficient > 0,
        "algorithm.kl_penalty": "kl",
        "algorithm.kl_ctrl.type": "fixed",
        "algorithm.kl_ctrl.kl_coef": method.reward_kl_coefficient,
        # verl: the first step whose policy is updated
        "trainer.critic_warmup": method.critic_warmup_steps + 1 if method.critic_warmup_steps else 0,
    }


def _rollout(config: Config, cluster: ClusterSettings) -> Values:
    sampling, evaluation = config.sampling, config.evaluation
    values: Values = {
        "name": "vllm",
        "n": sampling.group_size,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or NO_TOP_K,
        "seed": config.run.seed,
        "dtype": "float32" if is_float32(config, cluster) else "bfloat16",
        "max_num_seqs": sampling.max_sequences,
        "max_model_len": sampling.max_prompt_tokens + sampling.max_completion_tokens,
        "tensor_model_parallel_size": cluster.tensor_parallel_size,
        "gpu_memory_utilization": cluster.memory_share,
        "enforce_eager": config.vllm.enforce_eager,
        "calculate_log_probs": True,
        "val_kwargs.n": evaluation.samples,
        "val_kwargs.temperature": evaluation.temperature,
        "val_kwargs.top_p": evaluation.top_p,
        "val_kwargs.top_k": evaluation.top_k or NO_TOP_K,
        "val_kwargs.do_sample": evaluation.temperature > 0,
    }
    if config.model.lora is not None:
        values["load_format"] = "safetensors"  # adapters alone are sent after each step: the rest must be real
    return {f"actor_rollout_ref.rollout.{key}": value for key, value in values.items()}


def _reward(files: VerlFiles) -> Values:
    return {
        "reward.custom_reward_function.path": "pkg://ngrpo.engines.verl.reward",
        "reward.custom_reward_function.name": "compute_score",
        "+reward.custom_reward_function.reward_kwargs.config_path": files.config,
        "reward.reward_manager.name": "naive",
    }


def _trainer(config: Config, cluster: ClusterSettings, files: VerlFiles, *, resume: bool) -> Values:
    run, every = config.run, config.evaluation.every
    return {
        "trainer.device": cluster.device,
        "trainer.nnodes": cluster.nodes,
        "trainer.n_gpus_per_node": cluster.gpus_per_node,
        "trainer.total_training_steps": run.steps,
        "trainer.total_epochs": run.steps + 1,  # never what ends a run
        "trainer.test_freq": every or -1,
        "trainer.val_before_train": every > 0 and config.evaluation.at_start,
        "trainer.save_freq": run.save_every or run.steps,  # the last step is saved whenever any is
        "trainer.resume_mode": "auto" if resume else "disable",
        "trainer.default_local_dir": files.checkpoints,
        "trainer.project_name": "ngrpo",
        "trainer.experiment_name": run.name,
        "trainer.logger": ["console", "file"],
    }


def _ray(cluster: ClusterSettings, files: VerlFiles) -> Values:
    prefix = "+ray_kwargs.ray_init."
    # The processes of a cluster that runs already do not have the environment of this command.
    values: Values = {prefix + "runtime_env.env_vars." + LOGGED: files.metrics}
    if cluster.ray_address:
        return {**values, prefix + "address": cluster.ray_address}
    values[prefix + "include_dashboard"] = False
    if cluster.device == "cpu":
        # Numbers that Ray only counts with: verl asks for 3 processors and a GPU per worker.
        values |= {
            "ray_kwargs.ray_init.num_cpus": 3 + 3 * cluster.gpus_per_node,
            prefix + "num_gpus": cluster.gpus_per_node,
            prefix + "object_store_memory": 200_000_000,
        }
    return values
