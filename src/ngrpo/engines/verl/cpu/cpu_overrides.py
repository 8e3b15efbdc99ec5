"""What a command of verl sets for a machine without a GPU; nothing of verl is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ngrpo.methods import PPO

if TYPE_CHECKING:
    from ngrpo.config import Config

_HERE = "ngrpo.engines.verl.cpu"


def cpu_environment(config: Config) -> dict[str, str]:
    """Returns the environment variables of the command."""
    modules = [f"{_HERE}.platform", *([f"{_HERE}.vllm_name"] if config.sampling.sampler == "vllm" else [])]
    return {
        "VERL_PLATFORM": "cpu",
        "VERL_USE_EXTERNAL_MODULES": ",".join(modules),
        "VERL_ENGINE_DEVICE": "cuda",  # verl's FSDP engine is registered for that name alone; it asks no GPU
        "OMP_NUM_THREADS": "1",
        "TQ_NUM_THREADS": "1",  # of the transfer queue, which warns at each call when it has more than the machine
        "GLOO_SOCKET_IFNAME": "lo",
    }


def cpu_overrides(config: Config) -> dict[str, Any]:
    """Returns what verl needs where there is no GPU, in place of or besides what it needs with one."""
    actor = "actor_rollout_ref.actor."
    critic = {
        "+critic.model.override_config.attn_implementation": "sdpa",
        "critic.fsdp.use_torch_compile": False,
    }
    return {
        **(critic if isinstance(config.method, PPO) else {}),
        **_cpu_sampler(config),
        "+actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
        actor + "fsdp_config.use_torch_compile": False,
        actor + "use_torch_compile": False,
        "reward.num_workers": 1,
        "data.dataloader_num_workers": 0,
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
    }


def _cpu_sampler(config: Config) -> dict[str, Any]:
    """Returns the settings of verl's own vLLM server where the config asks for vLLM, else of one with transformers."""
    rollout = "actor_rollout_ref.rollout."
    shared: dict[str, Any] = {rollout + "free_cache_engine": False, rollout + "agent.num_workers": 1}
    if config.sampling.sampler == "vllm":
        vllm = f"+{rollout}engine_kwargs.vllm."
        return shared | {
            f"+{rollout}enable_sleep_mode": False,
            vllm + "worker_extension_cls": f"{_HERE}.vllm_worker.Worker",
            vllm + "kv_cache_memory_bytes": config.vllm.cpu_cache_gib * 2**30,
        }
    return shared | {
        rollout + "name": "ngrpo_cpu",
        "actor_rollout_ref.model.external_lib": f"{_HERE}.rollout",
        **({"actor_rollout_ref.model.lora.merge": True} if config.model.lora else {}),  # it takes whole models
    }
