"""What a run's settings will do, in sentences, said before its first step."""

from __future__ import annotations

import torch

from ngrpo.config import Config
from ngrpo.filters import kept_groups
from ngrpo.methods import PPO, GroupMethod


def run_facts(config: Config) -> list[str]:
    """Returns what the method will do with each kind of group, and whether its clip can bind."""
    method = config.method
    facts = [clip_fact(config)]
    if isinstance(method, GroupMethod):
        facts += group_facts(method, config.sampling.group_size)
    elif isinstance(method, PPO):
        facts += critic_facts(method, config.run.steps)
    if method.entropy_bonus and not method.needs_reference and isinstance(method, GroupMethod):
        facts.append(
            f"entropy bonus {method.entropy_bonus:g}: completions without advantage are computed too; "
            "[method] entropy_bonus = 0 skips them, which is faster by their share"
        )
    best, virtual = config.task.highest_reward, method.max_reward
    if virtual > best:
        facts.append(
            f"max_reward {virtual:g} is above the task's best reward, {best:g}: every group counts as all-wrong"
        )
    return facts


def clip_fact(config: Config) -> str:
    """Returns whether a ratio can differ from 1 and so be clipped."""
    bounds = f"clip [{1 - config.method.clip_low:g}, {1 + config.method.clip_high:g}]"
    updates = config.optimizer.updates_per_step
    if updates == 1 and config.sampling.old_logprobs == "sampler":
        return (
            f"{bounds}: with one update per step it can bind only where sampler and trainer differ, by rounding; "
            "raise [optimizer] updates_per_step for it to act"
        )
    if updates == 1:
        return (
            f"{bounds}: cannot bind, because with one update per step the ratio is 1; "
            "raise [optimizer] updates_per_step for it to act"
        )
    return f"{bounds}: can bind from the second of the {updates} updates of a step on"


def group_facts(method: GroupMethod, group_size: int) -> list[str]:
    """Returns a sentence for each kind of group, made by asking the method's own functions."""
    wrong, correct = torch.zeros(1, group_size), torch.full((1, group_size), method.max_reward)
    facts = [
        f"all-wrong groups: {_fate(method, wrong)}",
        f"all-correct groups: {_fate(method, correct)}",
    ]
    if group_size > 1:
        mixed = wrong.clone()
        mixed[0, 0] = method.max_reward
        a = method.advantages(mixed)[0]
        facts.insert(
            1, f"mixed groups: with 1 of {group_size} correct, advantage {a[0]:+.3f} for it, {a[1]:+.3f} for the others"
        )
    return facts


def critic_facts(method: PPO, steps: int) -> list[str]:
    """Returns what PPO's critic is, and what it does to each kind of group."""
    trunk = "a separate model" if method.critic == "separate" else "a head on the policy"
    facts = [
        f"critic: {trunk}, learning rate {method.critic_lr:g}, value clip {method.value_clip:g}; advantages by GAE "
        f"(gamma {method.gamma:g}, lambda {method.lam:g}), whitened over the tokens of the step",
        "groups: completions are not compared; the advantage is relative to the critic, in all-wrong and all-correct "
        "groups too",
    ]
    if method.filter != "none":
        fate = "replaced by further problems" if method.refill else "not replaced"
        facts.append(f"groups that filter '{method.filter}' drops are {fate}")
    if method.reward_kl_coefficient:
        facts.append(f"reward of each token: minus {method.reward_kl_coefficient:g} x KL (k1) to the starting model")
    if method.critic_warmup_steps:
        rest = "" if method.critic_warmup_steps < steps else ", which is the whole run"
        facts.append(f"critic warm-up: the policy is frozen for {method.critic_warmup_steps} steps{rest}")
    return facts


def _fate(method: GroupMethod, rewards: torch.Tensor) -> str:
    if not kept_groups(rewards, filter=method.filter, max_reward=method.max_reward).item():
        return f"filtered out, {'replaced by further problems' if method.refill else 'not replaced'}"
    if method.needs_entropies:
        return "each token's advantage follows its entropy"
    advantage = float(method.advantages(rewards)[0, 0])
    if advantage != 0.0:
        return f"advantage {advantage:+.3f} for each completion"
    extra = " (KL and entropy terms still act)" if method.trains_on_zero_advantage else ""
    return f"advantage 0, no gradient{extra}"
