"""From a config and its policy to what trains it."""

from __future__ import annotations

from typing import Any

import torch

from ngrpo.config import Config
from ngrpo.methods import PPO, GroupMethod
from ngrpo.models import LanguageModel, load_language_model
from ngrpo.training.collect import decoding_of
from ngrpo.training.critic import Critic, CriticUpdater
from ngrpo.training.learner import GroupLearner, Learner, OldLogprobs
from ngrpo.training.ppo_learner import PPOLearner
from ngrpo.training.update import PolicyUpdater


def learner_of(config: Config, policy: LanguageModel) -> Learner[Any]:
    """Returns the learner of a config's method, with its reference model and critic.

    Args:
        config: the method, and how it is trained.
        policy: the model that is trained.

    Raises:
        ConfigError: when the reference model or the critic cannot be loaded.
        TypeError: for a method that no learner takes.
    """
    method = config.method
    separate = method.needs_reference and config.model.lora is None  # else the adapters are switched off
    updater = PolicyUpdater(
        policy,
        load_language_model(config.model, for_training=False) if separate else None,
        method,
        config.optimizer,
        temperature=config.sampling.temperature,
        max_completion_tokens=config.sampling.max_completion_tokens,
    )
    old_logprobs = _old_logprobs(config, policy)
    if isinstance(method, GroupMethod):
        return GroupLearner(updater, method, old_logprobs)
    if isinstance(method, PPO):
        shared = method.critic == "shared"
        critic = Critic(policy, shared=True) if shared else Critic.separate(config.model)
        return PPOLearner(updater, CriticUpdater(critic, method, config.optimizer), method, old_logprobs)
    raise TypeError(f"method '{method.name}' has no learner: it must be a GroupMethod or PPO")


def _old_logprobs(config: Config, policy: LanguageModel) -> OldLogprobs:
    sampling = config.sampling
    # With other kernels, the same tokens have other logprobs.
    exact = sampling.kind.exact_logprobs and policy.dtype == torch.float32
    recompute = sampling.old_logprobs == "recompute" or (sampling.old_logprobs == "auto" and not exact)
    return OldLogprobs(recompute, sampling.importance_cap, decoding_of(sampling).truncation)
