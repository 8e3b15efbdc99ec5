"""The updates of a training step on the same rollouts, ours beside TRL's GRPOTrainer, on one CPU thread.

    OMP_NUM_THREADS=1 python benchmarks/train_step.py [--repeats 3] [--groups 32] [--cases equal] [--updates 1] [--json]

Needs an environment with TRL. A random Qwen2 of 3.2 M parameters, vocabulary 8,192; groups of 8, prompts of 60 tokens.
"dead_groups": completions of 10 to 200 tokens, 70 % of the groups without advantage; "all_alive": none without;
"equal": all alive, 105 tokens each; "entropy": dead groups with the default entropy bonus. TRL reads 64 rows at a time,
up to 16,640 tokens, we 8,192 tokens, our default. With 4 updates TRL first computes old logprobs, as it does in its own
step; ours come from the sampler. The loss is Dr.GRPO's, whose denominator is the same on both sides. Prints ratios of
user time, TRL's over ours, of peak memory, ours over TRL's, and the least cosine between the gradients of an update.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from paired import Cost, Meter, Work, in_turns, memory, parser, ratio, shown, total, user

GROUP, PROMPT, LONGEST, VOCABULARY, MICRO_BATCH = 8, 60, 200, 8192, 64
CASES = {
    "dead_groups": (10, 0.7, 0.0),
    "all_alive": (10, 0.0, 0.0),
    "equal": (0, 0.0, 0.0),
    "entropy": (10, 0.7, 0.001),
}
"""Shortest completion (0: all of 105), share of dead groups, entropy bonus."""


@dataclass
class Rollouts:
    """B rows: prompts, completions, advantages [B], and logprobs under the starting model."""

    prompts: list[Any]
    completions: list[Any]
    advantages: Any
    entropy_bonus: float
    updates: int


def rollouts(case: str, groups: int, updates: int) -> Rollouts:
    shortest, dead, bonus = CASES[case]
    rng = np.random.default_rng(0)
    prompts = [rng.integers(2, VOCABULARY, size=PROMPT) for _ in range(groups)]
    lengths = rng.integers(shortest, LONGEST + 1, size=groups * GROUP) if shortest else [105] * groups * GROUP
    advantages = rng.normal(size=(groups, GROUP)).astype(np.float32)
    advantages[rng.permutation(groups)[: round(dead * groups)]] = 0.0
    return Rollouts(
        [prompts[i // GROUP] for i in range(groups * GROUP)],
        [rng.integers(2, VOCABULARY, size=int(length)) for length in lengths],
        advantages.ravel(),
        bonus,
        updates,
    )


def random_model(
    vocab_size: int = VOCABULARY,
    hidden_size: int = 192,
    intermediate_size: int = 512,
    num_hidden_layers: int = 4,
    num_attention_heads: int = 6,
) -> Any:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=num_attention_heads,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        eos_token_id=1,
        bos_token_id=None,
        pad_token_id=0,
    )
    return Qwen2ForCausalLM(config).eval()


def tokenizer() -> Any:
    from ngrpo.models import load_tokenizer
    from ngrpo.models.paths import resolve_model_path

    return load_tokenizer(resolve_model_path("builtin:countdown-base"), "tokenizer")


def gradient(model: Any) -> Any:
    return np.concatenate([p.grad.detach().cpu().numpy().ravel() for _, p in sorted(model.named_parameters())])


@dataclass(frozen=True)
class Setting:
    """What both sides compute with: a model's maker, device, precision, what measures, and TRL's own options."""

    model: Callable[[], Any] = random_model
    device: str = "cpu"
    dtype: str = "float32"
    meter: Callable[[], Any] = Meter
    trl_options: Mapping[str, Any] = field(default_factory=lambda: {"use_cpu": True, "bf16": False})


ON_CPU = Setting()


def ours(case: str, groups: int, updates: int, tokens: int = 8192, setting: Setting = ON_CPU) -> Work:
    import torch

    from ngrpo.config import OptimizerSettings
    from ngrpo.methods import load_method
    from ngrpo.models import LanguageModel
    from ngrpo.training.allocator import keep_freed_memory
    from ngrpo.training.batch import TokenRow, TrainingRow
    from ngrpo.training.update import PolicyUpdater

    keep_freed_memory()  # as a run does
    given = rollouts(case, groups, updates)
    device = torch.device(setting.device)
    lm = LanguageModel(setting.model().to(device), tokenizer(), device, getattr(torch, setting.dtype))
    method = load_method({"name": "dr_grpo", "entropy_bonus": given.entropy_bonus, "clip_low": 0.2, "clip_high": 0.2})
    table = {"lr": 1e-6, "weight_decay": 0.0, "updates_per_step": updates, "tokens_per_micro_batch": tokens}
    settings = OptimizerSettings.parse(table)
    updater = PolicyUpdater(lm, None, method, settings, temperature=1.0, max_completion_tokens=LONGEST)
    rows = [TokenRow(prompt, completion) for prompt, completion in zip(given.prompts, given.completions, strict=True)]
    old = updater.logprobs(rows)
    training = [
        TrainingRow(row.prompt, row.completion, logprobs, np.full(len(row.completion), advantage))
        for row, logprobs, advantage in zip(rows, old, given.advantages, strict=True)
    ]
    parts = [[training[i] for i in part] for part in np.array_split(np.arange(len(training)), updates)]
    start = [p.detach().clone() for p in lm.model.parameters()]
    gradients: list[Any] = []
    take_step = updater.take_step

    def recording() -> float:
        gradients.append(gradient(lm.model))
        return take_step()

    def work() -> Any:
        with torch.no_grad():
            for parameter, value in zip(lm.model.parameters(), start, strict=True):
                parameter.copy_(value)
        gradients.clear()
        updater.take_step = recording  # type: ignore[method-assign]
        updater.take_updates(parts, step=1)  # once for the gradients, and to warm up
        updater.take_step = take_step  # type: ignore[method-assign]
        meter = setting.meter()
        updater.take_updates(parts, step=1)
        return meter.cost(gradients)

    return work


def theirs(case: str, groups: int, updates: int, setting: Setting = ON_CPU) -> Work:
    given = rollouts(case, groups, updates)
    size = min(MICRO_BATCH, groups * GROUP // updates)
    accumulate = groups * GROUP // updates // size

    def work() -> Cost:
        import torch
        from datasets import Dataset
        from transformers import TrainerCallback
        from trl import GRPOConfig, GRPOTrainer

        gradients: list[Any] = []
        meters: list[Any] = []
        costs: list[Cost] = []

        class Recorder(TrainerCallback):  # type: ignore[misc]
            def on_pre_optimizer_step(self, *_: Any, **kwargs: Any) -> None:
                if len(gradients) < updates:
                    gradients.append(gradient(kwargs["model"]))

            def on_step_end(self, *given: Any, **_: Any) -> None:
                state = given[1]
                if state.global_step == updates:
                    meters.append(setting.meter())
                if state.global_step == 2 * updates:
                    costs.append(meters[0].cost(gradients))

        class Trainer(GRPOTrainer):  # type: ignore[misc]
            def _prepare_inputs(self, _: Any) -> Any:  # in the order given, not shuffled
                place = self._step % (accumulate * updates)
                if place == 0:
                    self.batch = self.given()
                return {
                    k: v if k == "num_items_in_batch" else v[place * size : (place + 1) * size]
                    for k, v in self.batch.items()
                }

            @torch.no_grad()
            def given(self) -> Any:
                width = max(map(len, given.completions))
                mask = torch.tensor([[1] * len(c) + [0] * (width - len(c)) for c in given.completions])
                padded = torch.tensor([[*c, *[0] * (width - len(c))] for c in given.completions])
                mask, padded = mask.to(setting.device), padded.to(setting.device)
                prompts = torch.tensor(np.stack(given.prompts), device=setting.device)
                batch = {
                    "prompt_ids": prompts,
                    "prompt_mask": torch.ones_like(prompts),
                    "completion_ids": padded,
                    "completion_mask": mask,
                    "advantages": torch.from_numpy(given.advantages).to(setting.device),
                    "num_items_in_batch": mask.sum(),
                }
                if updates > 1:
                    batch["old_per_token_logps"] = self._get_per_token_logps_and_entropies(
                        self.model,
                        torch.cat([prompts, padded], dim=1),
                        torch.cat([batch["prompt_mask"], mask], dim=1),
                        width,
                        batch_size=size,
                    )[0]
                return batch

        with tempfile.TemporaryDirectory() as folder:
            config = GRPOConfig(
                output_dir=folder,
                per_device_train_batch_size=size,
                gradient_accumulation_steps=accumulate,
                steps_per_generation=accumulate * updates,
                num_generations=GROUP,
                max_completion_length=LONGEST,
                max_steps=2 * updates,
                learning_rate=1e-6,
                lr_scheduler_type="constant",
                loss_type="dr_grpo",
                entropy_coef=given.entropy_bonus,
                beta=0.0,
                epsilon=0.2,
                gradient_checkpointing=False,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_dropout=True,
                **setting.trl_options,
            )
            trainer = Trainer(
                setting.model(),
                reward_funcs=lambda completions, **_: [0.0] * len(completions),
                args=config,
                train_dataset=Dataset.from_list([{"prompt": "1"}] * groups),
                processing_class=tokenizer(),
                callbacks=[Recorder()],
            )
            trainer.train()
        return costs[0]

    return work


def cosine(ours: list[Cost], theirs: list[Cost]) -> float:
    pairs = [(a.astype("f8"), b.astype("f8")) for a, b in zip(ours[0].facts, theirs[0].facts, strict=True)]
    return min(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in pairs)


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--groups", type=int, default=32, help="groups of a step")
    options.add_argument("--cases", nargs="*", default=list(CASES))
    options.add_argument("--updates", nargs="*", type=int, default=[1, 4])
    options.add_argument("--tokens", type=int, default=8192, help="tokens that we read at a time")
    given = options.parse_args()
    result: dict[str, Any] = {"groups": given.groups}
    for case in given.cases:
        for updates in given.updates:
            shape = case, given.groups, updates
            found = in_turns({"ours": (ours, *shape, given.tokens), "theirs": (theirs, *shape)}, given.repeats, warm=0)
            name = f"{case}_{updates}_updates" if updates > 1 else case
            result[f"ratio_{name}"] = ratio(found["theirs"], found["ours"], user)
            result[f"ratio_with_kernel_{name}"] = ratio(found["theirs"], found["ours"], total)
            result[f"memory_{name}"] = ratio(found["ours"], found["theirs"], memory)
            result[f"cosine_{name}"] = cosine(found["ours"], found["theirs"])
            result[f"user_seconds_{name}"] = min(map(user, found["ours"]))
    shown(result, as_json=given.json)


if __name__ == "__main__":
    main()
