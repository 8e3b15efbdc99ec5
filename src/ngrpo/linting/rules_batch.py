"""Rules about batches, aggregation, precision, and names of keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ngrpo.linting.rule import Fault, Rule
from ngrpo.linting.view import ConfigView

SMALL_LR = 5e-6
"""Below it an update of AdamW, about lr per weight, is lost to bfloat16's 8 bits for weights above 0.0013."""
LORA_LEAST_LR = 2e-6

RENAMED: Mapping[str, Mapping[str, str]] = {
    "trl": {
        "max_prompt_length": "",
        "vllm_importance_sampling_cap": "vllm_importance_sampling_clip_max",
        "use_transformers_paged": "use_transformers_continuous_batching",
    },
    "verl": {
        "actor_rollout_ref.actor.ppo_micro_batch_size": "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size": (
            "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu"
        ),
        "actor_rollout_ref.ref.log_prob_micro_batch_size": "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu",
        "data.val_batch_size": "",
    },
    "prime-rl": {
        "orchestrator.rollouts_per_example": "orchestrator.group_size",
        "orchestrator.sampling": "orchestrator.train.sampling",
        "orchestrator.env": "orchestrator.train.source",
    },
}
"""Former key -> the present one, "" where it is gone without one."""


def batch_not_divisible(view: ConfigView) -> Iterator[Fault]:
    """A batch that is not whole groups, or groups that do not divide into updates."""
    if view.tool in {"trl", "prime-rl"}:
        batch, size = view.number("batch"), view.number("group_size")
        # Only `generation_batch_size` counts all processes; with more of them another size may be whole.
        sure = view.tool == "prime-rl" or (view.given("batch") and "generation_batch_size" in view.raw)
        if batch and size and batch % size and sure:
            reason = f"{batch:g} completions are not whole groups of {size:g}"
            yield Fault("batch", reason, view.paste("batch", int(-(-batch // size) * size)))
        return
    step, update = view.number("problems_per_step"), view.number("problems_per_update")
    if view.tool == "verl" and step and update and step % update:
        reason = f"{step:g} problems do not divide into mini-batches of {update:g}"
        yield Fault("problems_per_update", reason, view.paste("problems_per_update", _divisor(int(step), int(update))))
    updates, passes = view.number("updates_per_step"), view.number("passes")
    if view.tool == "ngrpo" and step and updates and passes and step % (per_pass := updates // passes):
        reason = f"{step:g} groups do not divide into {per_pass:g} updates: some updates get more groups than others"
        yield Fault("problems_per_step", reason, view.paste("problems_per_step", int(-(-step // per_pass) * per_pass)))


def _divisor(whole: int, near: int) -> int:
    return next((part for part in range(min(near, whole), 0, -1) if whole % part == 0), 1)


def completions_over_gpus(view: ConfigView) -> Iterator[Fault]:
    """verl: the completions of a step must divide by the GPUs."""
    names = ("problems_per_step", "group_size", "gpus", "nodes")
    numbers = [view.number(name) for name in names]
    of_megatron = any(".megatron." in key for key in view.raw)  # which counts by its own parallel sizes
    if all(numbers) and view.value("dynamic_batch") is False and not of_megatron:
        step, group, gpus, nodes = (int(number or 0) for number in numbers)
        if step * group % (gpus * nodes):
            reason = (
                f"{step} problems x {group} completions do not divide by {gpus * nodes} GPUs: verl refuses to start"
            )
            yield Fault(
                "problems_per_step", reason, view.paste("problems_per_step", -(-step // (gpus * nodes)) * gpus * nodes)
            )


def mini_batch_too_large(view: ConfigView) -> Iterator[Fault]:
    """verl: a mini-batch larger than the batch."""
    step, update = view.number("problems_per_step"), view.number("problems_per_update")
    if step and update and update > step:
        reason = f"a mini-batch of {update:g} problems is larger than the step's {step:g}: verl refuses to start"
        yield Fault("problems_per_update", reason, view.paste("problems_per_update", int(step)))


def half_a_dr_grpo(view: ConfigView) -> Iterator[Fault]:
    """Dr.GRPO's constant denominator with GRPO's division by the deviation."""
    divides = view.value("divides_by_deviation")
    grpo = view.value("method") == "grpo"
    if grpo and view.value("aggregate") == "constant" and divides is True:
        reason = "Dr.GRPO's constant denominator with GRPO's division by the deviation: half of either"
        fix = {"trl": view.paste("scale_rewards", "none"), "ngrpo": view.paste("method", "dr_grpo")}
        yield Fault("aggregate", reason, fix.get(view.tool, view.paste("divides_by_deviation", value=False)))


def length_bias(view: ConfigView) -> Iterator[Fault]:
    """A mean over each completion's tokens: a long wrong answer is punished less per token."""
    sequence = view.value("ratio_level") == "sequence" or view.value("loss") == "gspo"
    if view.value("aggregate") == "sequence_mean" and not sequence and view.given("aggregate"):
        reason = "each completion counts once however long: long wrong answers are punished less per token"
        fix = {"trl": view.paste("loss", "dapo"), "verl": view.paste("verl_aggregate", "token-mean")}
        yield Fault("aggregate", reason, fix.get(view.tool, view.paste("aggregate", "token_mean")))


def bfloat16_weights(view: ConfigView) -> Iterator[Fault]:
    """Weights in bfloat16 at a small learning rate."""
    low = str(view.value("weight_dtype")) in {"bf16", "bfloat16"}
    lr = view.number("lr")
    if low and lr is not None and lr <= SMALL_LR and not view.number("lora_rank"):
        reason = f"bfloat16 has 8 bits: an update of about {lr:g} is rounded away for most weights"
        fix = {
            "trl": view.paste_key("model_init_kwargs", {"dtype": "float32"}),
            "verl": view.paste("weight_dtype", "fp32"),
        }
        yield Fault("weight_dtype", reason, fix.get(view.tool, view.paste("weight_dtype", "float32")))


def lora_at_full_lr(view: ConfigView) -> Iterator[Fault]:
    """Adapters at a learning rate that is meant for all weights."""
    lr, rank = view.number("lr"), view.number("lora_rank")
    if rank and lr is not None and lr <= LORA_LEAST_LR:
        reason = f"adapters want about ten times the learning rate of all weights; {lr:g} hardly moves them"
        yield Fault("lr", reason, view.paste("lr", 10 * lr))


def reward_columns_removed(view: ConfigView) -> Iterator[Fault]:
    """TRL: columns that reward functions read are removed from the data."""
    if view.given("unused_columns") and view.value("unused_columns") is True:
        reason = "every column but the prompt is removed, references too: reward functions cannot read them"
        yield Fault("unused_columns", reason, view.paste("unused_columns", value=False))


def key_twice(view: ConfigView) -> Iterator[Fault]:
    """A key is given twice with the last one winning."""
    for key, line in view.repeated.items():
        found = view.raw[key]
        yield Fault(
            key,
            f"given more than once: line {line} counts",
            view.paste_key(key, _shown(found.value)),
        )


def _shown(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | list) or value is None else str(value)


def former_key(view: ConfigView) -> Iterator[Fault]:
    """A key that was renamed or removed."""
    for former, now in RENAMED.get(view.tool, {}).items():
        if former in view.raw and view.own(former) is not None:
            reason = f"was renamed to {now}" if now else "was removed and has no effect"
            yield Fault(former, reason, view.paste_key(now, _shown(view.own(former))) if now else f"remove {former}")


TRL_DOCS = "https://huggingface.co/docs/trl/grpo_trainer"
VERL_DOCS = "https://verl.readthedocs.io/en/latest/examples/config.html"

ALL: tuple[Rule, ...] = (
    Rule("batch-not-divisible", batch_not_divisible, "warning", TRL_DOCS, ("ngrpo", "trl", "verl", "prime-rl")),
    Rule("completions-over-gpus", completions_over_gpus, "warning", VERL_DOCS, ("verl",)),
    Rule("mini-batch-too-large", mini_batch_too_large, "warning", VERL_DOCS, ("verl",)),
    Rule("half-a-dr-grpo", half_a_dr_grpo, "warning", "https://arxiv.org/abs/2503.20783", ("ngrpo", "trl", "verl")),
    Rule("length-bias", length_bias, "note", "https://arxiv.org/abs/2503.20783", ("ngrpo", "trl", "verl")),
    Rule(
        "bfloat16-weights", bfloat16_weights, "warning", "https://arxiv.org/abs/2010.06192", ("trl", "verl", "prime-rl")
    ),
    Rule(
        "lora-at-full-lr",
        lora_at_full_lr,
        "warning",
        "https://thinkingmachines.ai/blog/lora/",
        ("ngrpo", "trl", "verl", "prime-rl"),
    ),
    Rule("reward-columns-removed", reward_columns_removed, "warning", TRL_DOCS, ("trl",)),
    Rule("key-twice", key_twice, "warning", VERL_DOCS, ("trl", "verl")),
    Rule("former-key", former_key, "warning", VERL_DOCS, ("trl", "verl", "prime-rl")),
)
