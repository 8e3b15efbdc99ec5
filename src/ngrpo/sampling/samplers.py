"""From a config to the sampler that it asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ngrpo.config import Config
from ngrpo.errors import ConfigError
from ngrpo.models import LanguageModel, base_of_adapters, load_language_model, load_tokenizer, stop_tokens_of
from ngrpo.models.paths import resolve_model_path
from ngrpo.sampling.detokenizer import Detokenizer
from ngrpo.sampling.sampler import Decoding, Prompt, Sampler
from ngrpo.sampling.transformers_sampler import TransformersSampler
from ngrpo.sampling.vllm_sampler import VLLMModel, VLLMSampler
from ngrpo.types import Problem

_LARGEST_GAP = 0.3
"""Mean gap in nats between two samplers' logprobs of the same tokens, far above what half precision makes."""


class SamplerAndTokenizer(NamedTuple):
    """A sampler, and the tokenizer that belongs to its model."""

    sampler: Sampler
    tokenizer: Any


def training_sampler(
    config: Config, policy: LanguageModel, on_message: Callable[[str], None] = lambda _text: None
) -> Sampler:
    """Returns the sampler that samples from the policy that is trained.

    Args:
        config: which sampler.
        policy: the model that is trained.
        on_message: is given what a user should know, such as that memory ran out.

    Raises:
        ConfigError: when the sampler does not support this model.
        MissingDependencyError: when the sampler is not installed.
    """
    sampler = TRAINING_SAMPLERS[config.sampling.sampler](config, policy)
    sampler.on_message = on_message
    if not config.sampling.kind.exact_logprobs:
        _check_weights(sampler, policy)
    return sampler


def evaluation_sampler(config: Config, on_message: Callable[[str], None]) -> SamplerAndTokenizer:
    """Returns the sampler that evaluates the model of a config.

    Args:
        config: the model, and which sampler.
        on_message: is told what a user should know, such as that a server is waited for.

    Raises:
        ConfigError: when there is no such model, or the sampler does not support it.
        MissingDependencyError: when the sampler is not installed.
    """
    return EVALUATION_SAMPLERS[config.sampling.sampler](config, on_message)


def stop_tokens_at(path: str, tokenizer: Any) -> frozenset[int]:
    """Returns the tokens that end a completion of a model that is not loaded here.

    Args:
        path: a model folder or hub id.
        tokenizer: its tokenizer.
    """
    from transformers import AutoConfig, GenerationConfig

    text_config = AutoConfig.from_pretrained(path).get_text_config(decoder=True)
    try:
        generation = GenerationConfig.from_pretrained(path)
    except OSError:  # not every model has one
        generation = None
    return stop_tokens_of(generation, text_config, tokenizer)


def _transformers(config: Config, model: LanguageModel) -> Sampler:
    sampling = config.sampling
    return TransformersSampler(
        model, max_sequences=sampling.max_sequences, keep_special_tokens=sampling.keep_special_tokens
    )


def _evaluating_transformers(config: Config, on_message: Callable[[str], None]) -> SamplerAndTokenizer:
    model = load_language_model(config.model, for_training=False)
    sampler = _transformers(config, model)
    sampler.on_message = on_message
    return SamplerAndTokenizer(sampler, model.tokenizer)


def _endpoint(config: Config, on_message: Callable[[str], None]) -> SamplerAndTokenizer:
    from ngrpo.sampling.endpoint.endpoint_sampler import EndpointSampler

    if config.sampling.keep_special_tokens:
        raise ConfigError(
            "[sampling] keep_special_tokens: a server makes the text; for vLLM and SGLang set "
            "[endpoint] body = {skip_special_tokens = false}"
        )
    # The server has the tokenizer.
    return SamplerAndTokenizer(EndpointSampler(config.endpoint, config.model.path, on_message=on_message), None)


def _training_vllm(config: Config, model: LanguageModel, *, trained: bool = True) -> Sampler:
    """Returns vLLM with the weights of a model that is loaded here."""
    path = base_of_adapters(resolve_model_path(config.model.path))
    dtype = str(model.dtype).removeprefix("torch.")
    source = VLLMModel(path, dtype, model.checkpoint_weights, untied=not model.is_tied)
    return _vllm(config, source, model.tokenizer, model.stop_tokens, trained=trained)


def _evaluating_vllm(config: Config, _on_message: Callable[[str], None]) -> SamplerAndTokenizer:
    path = resolve_model_path(config.model.path)
    if path != base_of_adapters(path):  # merged here, and handed over once
        merged = load_language_model(config.model.model_copy(update={"device": "cpu"}), for_training=False)
        return SamplerAndTokenizer(_training_vllm(config, merged, trained=False), merged.tokenizer)
    tokenizer = load_tokenizer(path, config.model.path)
    on_gpu = torch.cuda.is_available()
    dtype = config.model.dtype if config.model.dtype != "auto" else "bfloat16" if on_gpu else "float32"
    sampler = _vllm(config, VLLMModel(path, dtype), tokenizer, stop_tokens_at(path, tokenizer), trained=False)
    return SamplerAndTokenizer(sampler, tokenizer)


def _vllm(
    config: Config, model: VLLMModel, tokenizer: Any, stop_tokens: frozenset[int], *, trained: bool
) -> VLLMSampler:
    from transformers import AutoConfig

    sampling, evaluation = config.sampling, config.evaluation
    limits = [sampling.max_completion_tokens] if trained else [evaluation.max_completion_tokens]
    if trained and evaluation.in_run:
        limits.append(evaluation.max_completion_tokens)
    wanted = sampling.max_prompt_tokens + max(limits)
    text_config = AutoConfig.from_pretrained(model.path).get_text_config(decoder=True)
    reads = getattr(text_config, "max_position_embeddings", wanted)
    return VLLMSampler(
        model,
        Detokenizer(tokenizer, sampling.keep_special_tokens),
        stop_tokens,
        config.vllm,
        max_tokens=min(wanted, reads),
        max_sequences=sampling.max_sequences,
    )


def _check_weights(sampler: Sampler, policy: LanguageModel) -> None:
    """Samples a few tokens and has the policy score them: a sampler without the policy's weights samples noise."""
    tokens = np.arange(3, dtype=np.int64) + 5
    prompt = Prompt(Problem("weights", "", ""), tokens % policy.vocabulary_size)
    sampled = sampler.sample([prompt], range(8), Decoding(1.0, 1.0, 4), seed=0, round_name="weights")[0]
    gap = max(_gaps(policy, prompt, sampled)) if sampled else 0.0
    if not gap <= _LARGEST_GAP:
        raise ConfigError(
            f"the sampler's logprobs are {gap:.2g} nats from those of the policy: it did not load the weights, or "
            "runs a different model"
        )


def _gaps(policy: LanguageModel, prompt: Prompt, sampled: Sequence[Any]) -> list[float]:
    gaps = []
    for completion in sampled:
        ids = torch.from_numpy(np.concatenate([prompt.tokens, completion.tokens]))[None].to(policy.device)
        with policy.inference():
            logits = policy.head(policy.hidden_states(ids)).float()[0, len(prompt.tokens) - 1 : -1]
        logprobs = logits.log_softmax(dim=-1).gather(-1, ids[0, len(prompt.tokens) :, None])[:, 0].cpu().numpy()
        gaps.append(float(abs(logprobs - completion.logprobs).mean()))
    return gaps


TRAINING_SAMPLERS: dict[str, Callable[[Config, LanguageModel], Sampler]] = {
    "transformers": _transformers,
    "vllm": _training_vllm,
}
"""Sampler -> from a config and the policy to the sampler that trains it."""
EVALUATION_SAMPLERS: dict[str, Callable[[Config, Callable[[str], None]], SamplerAndTokenizer]] = {
    "transformers": _evaluating_transformers,
    "vllm": _evaluating_vllm,
    "endpoint": _endpoint,
}
"""Sampler -> from a config, and a function for messages, to the sampler that evaluates its model."""
