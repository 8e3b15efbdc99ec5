"""What a config can say and verl cannot do: an error each, and none that is silent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ngrpo.errors import ConfigError
from ngrpo.methods import PPO, GroupMethod

if TYPE_CHECKING:
    from ngrpo.config import Config
    from ngrpo.config.cluster_settings import ClusterSettings


def is_float32(config: Config, cluster: ClusterSettings) -> bool:
    """Returns whether everything is computed in float32, as `[model] dtype` says; auto follows the device."""
    if config.model.dtype == "auto":
        return cluster.device == "cpu"
    return config.model.dtype == "float32"


def check_expressible(config: Config, cluster: ClusterSettings) -> None:
    """Raises ConfigError for the first setting that verl does not support."""
    for complaint in _complaints(config, cluster):
        raise ConfigError(f"--engine verl: {complaint}")


def _complaints(config: Config, cluster: ClusterSettings) -> Iterator[str]:
    yield from _of_method(config)
    yield from _of_sampling(config)
    yield from _of_batch(config, cluster)
    if config.task.continue_final_message:
        yield "[task] continue_final_message is not supported: verl starts a new assistant message"
    if config.task.prefill or config.task.chat_template_kwargs or not config.task.chat:
        yield "[task] prefill, chat_template_kwargs and chat = false are not supported: verl makes its own prompts"
    if config.model.router_aux_loss_coef:
        yield "[model] router_aux_loss_coef is not translated; use --engine local"
    if config.optimizer.name != "adamw":
        yield f"[optimizer] name '{config.optimizer.name}' is not translated; see [cluster.overrides]"
    if config.optimizer.falls:
        yield f"[optimizer] schedule '{config.optimizer.schedule}' is not translated; use 'constant' or 'warmup'"
    if config.evaluation.count or config.run.max_rollouts or config.run.max_tokens:
        yield "[evaluation] count, [run] max_rollouts and max_tokens are not translated: verl counts steps"
    if config.model.device not in ("auto", cluster.device):
        yield (
            f"[model] device is '{config.model.device}', but verl trains on [cluster] device '{cluster.device}'; "
            "leave it 'auto'"
        )
    if (lora := config.model.lora) is not None and lora.alpha != int(lora.alpha):
        yield f"[model.lora] alpha is {lora.alpha:g}, verl takes whole numbers"
    longest = config.sampling.max_completion_tokens
    if config.evaluation.every and config.evaluation.max_completion_tokens != longest:
        yield (
            f"[evaluation] max_completion_tokens is {config.evaluation.max_completion_tokens}, but verl samples "
            f"evaluations with the length of training, {longest}; set both alike, or every = 0 and evaluate afterwards "
            "with `ngrpo eval`"
        )


def _of_method(config: Config) -> Iterator[str]:
    method = config.method
    if isinstance(method, PPO):
        if method.critic == "shared":
            yield "[method] critic is 'shared', verl's is a separate model; use 'separate' or --engine local"
    elif not isinstance(method, GroupMethod) or method.needs_entropies:
        yield f"method '{method.name}' has advantages per token, which verl's estimators cannot see; use --engine local"


def _of_sampling(config: Config) -> Iterator[str]:
    sampling = config.sampling
    if not sampling.kind.can_train:
        yield f"[sampling] sampler '{sampling.sampler}' is for evaluation only; verl starts its own vLLM"
    if sampling.keep_special_tokens:
        yield "[sampling] keep_special_tokens is not supported: verl decodes completions without special tokens"
    if sampling.min_p or (config.evaluation.every and config.evaluation.min_p):
        yield "min_p is not supported: verl has no such setting; use top_p or top_k"
    if sampling.stop or (config.evaluation.every and config.evaluation.stop):
        yield "stop is not supported: verl has no such setting for training; use --engine local"
    if sampling.truncated != "graded":
        yield f"[sampling] truncated '{sampling.truncated}' is not translated; use 'graded' or --engine local"
    if sampling.old_logprobs == "sampler":
        yield "[sampling] old_logprobs 'sampler' is not translated: verl recomputes them; use 'auto' or 'recompute'"


def _of_batch(config: Config, cluster: ClusterSettings) -> Iterator[str]:
    sampling, optimizer = config.sampling, config.optimizer
    updates = optimizer.updates_per_step // optimizer.passes_per_step
    if sampling.problems_per_step % updates:
        yield (
            f"[sampling] problems_per_step is {sampling.problems_per_step}, which {updates} updates per pass "
            "([optimizer] updates_per_step / passes_per_step) do not divide: verl's mini-batches are of one size"
        )
        return
    rows = sampling.problems_per_step // updates * sampling.group_size
    workers = cluster.nodes * cluster.gpus_per_node
    if rows % workers:
        yield (
            f"an update has {rows} completions, which {workers} workers ([cluster] nodes x gpus_per_node) do not "
            "divide; change [sampling] problems_per_step or [optimizer] updates_per_step"
        )
    if workers % cluster.tensor_parallel_size:
        yield (
            f"[cluster] tensor_parallel_size is {cluster.tensor_parallel_size}, which does not divide the {workers} "
            "GPUs"
        )
