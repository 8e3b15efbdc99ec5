"""The networks in verl's words: model, policy, critic, their losses and optimizers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ngrpo.adapters.verl_names import CLIPPED_LOSS
from ngrpo.engines.verl.expressible import is_float32
from ngrpo.methods import PPO
from ngrpo.models.paths import resolve_model_path

if TYPE_CHECKING:
    from ngrpo.config import Config
    from ngrpo.config.cluster_settings import ClusterSettings

Values = dict[str, Any]

NO_DUAL_CLIP = 1e9
"""verl's `clip_ratio_c`: it cuts ratios at e^20, so a bound beyond that is never met."""
AGGREGATES = {
    "token_mean": "token-mean",
    "sequence_mean": "seq-mean-token-mean",
    "constant": "seq-mean-token-sum-norm",
}
LOSSES = {"clipped": CLIPPED_LOSS, "gspo": "gspo", "cispo": "cispo"}
JOINED = '{{ messages | map(attribute="content") | join("\\n\\n") }}'
"""A chat template that does what `encode_prompt` does for a tokenizer without one; verl cannot do without."""
FULL_PRECISION = {"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"}


def model_overrides(config: Config, cluster: ClusterSettings) -> Values:
    """Returns the settings of a model of ours, without what they are prefixed by."""
    path = resolve_model_path(config.model.path)
    values: Values = {
        "path": path,
        "enable_gradient_checkpointing": config.model.gradient_checkpointing,
        "use_remove_padding": cluster.device == "cuda",
    }
    if not has_chat_template(path):
        values["custom_chat_template"] = JOINED
    if config.model.attention and cluster.device == "cuda":
        values["override_config.attn_implementation"] = config.model.attention
    if (lora := config.model.lora) is not None:
        values |= {
            "lora_rank": lora.rank,
            "lora_alpha": int(lora.alpha),
            "target_modules": list(lora.target_modules) or "all-linear",
        }
    return values


def prefixed(prefix: str, values: Values) -> Values:
    """Returns settings under their full keys; a `+` adds those that verl's schema leaves open."""
    return {f"{'+' if key.startswith('override_config.') else ''}{prefix}{key}": value for key, value in values.items()}


def has_chat_template(path: str) -> bool:
    """Returns whether a model's tokenizer has a chat template; a model that is not on this machine is said to."""
    folder = Path(path)
    if not folder.is_dir() or (folder / "chat_template.jinja").is_file():
        return True
    settings = folder / "tokenizer_config.json"
    return settings.is_file() and '"chat_template"' in settings.read_text(encoding="utf-8")


def actor_overrides(config: Config, cluster: ClusterSettings) -> Values:
    method, optimizer, sampling = config.method, config.optimizer, config.sampling
    updates_per_pass = optimizer.updates_per_step // optimizer.passes_per_step
    values: Values = {
        "strategy": "fsdp2",
        "clip_ratio": method.clip_low,
        "clip_ratio_low": method.clip_low,
        "clip_ratio_high": method.clip_high,
        "clip_ratio_c": NO_DUAL_CLIP,
        "policy_loss.loss_mode": LOSSES[method.loss],
        "loss_agg_mode": AGGREGATES[method.aggregate],
        "entropy_coeff": method.entropy_bonus,
        "use_kl_loss": method.kl_coefficient > 0,
        "kl_loss_coef": method.kl_coefficient,
        "kl_loss_type": method.kl_estimator,
        "ppo_mini_batch_size": sampling.problems_per_step // updates_per_pass,
        "ppo_epochs": optimizer.passes_per_step,
        "use_dynamic_bsz": True,
        "ppo_max_token_len_per_gpu": _tokens_at_once(config),
        "data_loader_seed": config.run.seed,
        "fsdp_config.model_dtype": "fp32",
        "fsdp_config.seed": config.run.seed,
        "checkpoint.save_contents": ["model", "optimizer", "extra", "hf_model"],
    }
    if cluster.device == "cuda":
        # Entropies of 36,000 tokens x 152,000 logits at once would take more memory than the model.
        values |= {"entropy_from_logits_with_chunking": True, "entropy_checkpointing": True}
    if method.aggregate == "constant":
        values["loss_scale_factor"] = sampling.max_completion_tokens
    values |= {f"optim.{key}": value for key, value in _optimizer(config).items()}
    prefix = "actor_rollout_ref.actor."
    named = {prefix + key: value for key, value in values.items()}
    if cluster.device == "cuda" and method.needs_reference and config.model.lora is None:
        named["actor_rollout_ref.ref.fsdp_config.param_offload"] = True  # it is read once a step
    if is_float32(config, cluster):
        named[f"+{prefix}fsdp_config.mixed_precision"] = FULL_PRECISION
        named["+actor_rollout_ref.ref.fsdp_config.mixed_precision"] = FULL_PRECISION
    return named


def critic_overrides(config: Config, cluster: ClusterSettings) -> Values:
    """Returns the settings of PPO's value model; verl takes the others from the policy's."""
    method = config.method
    if not isinstance(method, PPO):
        return {}
    values: Values = {
        "strategy": "fsdp2",
        "cliprange_value": method.value_clip,
        "loss_agg_mode": "token-mean",
        "ppo_max_token_len_per_gpu": _tokens_at_once(config),
        "data_loader_seed": config.run.seed,
        "fsdp.strategy": "fsdp2",
        "fsdp.seed": config.run.seed,
    }
    values |= {f"optim.{key}": value for key, value in {**_optimizer(config), "lr": method.critic_lr}.items()}
    named = {f"critic.{key}": value for key, value in values.items()}
    named |= prefixed("critic.model.", model_overrides(config, cluster))
    if is_float32(config, cluster):
        named["+critic.fsdp.mixed_precision"] = FULL_PRECISION
    return named


def _tokens_at_once(config: Config) -> int:
    sampling = config.sampling
    return max(config.optimizer.tokens_per_micro_batch, sampling.max_prompt_tokens + sampling.max_completion_tokens)


def _optimizer(config: Config) -> Values:
    optimizer = config.optimizer
    values: Values = {
        "lr": optimizer.lr,
        "betas": list(optimizer.betas),
        "weight_decay": optimizer.weight_decay,
        "clip_grad": optimizer.max_grad_norm,
    }
    if optimizer.schedule == "constant":
        return {**values, "lr_scheduler_type": "constant", "lr_warmup_steps": 0}
    # verl's constant schedule begins its warm-up with a step of learning rate 0. A cosine that does not fall, with
    # steps counted from 1, is ours: lr * step / warmup_steps, then lr.
    return {
        **values,
        "lr_scheduler_type": "cosine",
        "min_lr_ratio": 1.0,
        "zero_indexed_step": False,
        "lr_warmup_steps": optimizer.warmup_steps,
    }
