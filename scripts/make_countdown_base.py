"""Makes the shipped base model, src/ngrpo/models/assets/countdown-base/, from imperfect supervised examples.

    PYTHONPATH=src python scripts/make_countdown_base.py

It takes two to four minutes on one core, is deterministic on one machine (one thread, one seed) and prints what it
measured. A base for RLVR must be wrong often, but not hopeless: Pass@1 between 5 and 15 %, Pass@64 at least 80 %. Two
means were scanned, the number of steps and the share of examples whose expression is a random one instead of a solution
(`mistaken`); seed 0, all 1,024 test problems, 64 samples each:

    steps  mistaken  Pass@1  Pass@8  Pass@64  all-wrong groups of 8
      600       0.0    .120    .518     .873   .482
      600       0.1    .102    .469     .841   .531   <- chosen
      600       0.2    .072    .382     .812   .618
      800       0.3    .071    .369     .813   .631

The scan was made with four attention heads of 24. The shipped model has three of 32, which vLLM's attention on a CPU
takes too, and the chosen means: .089 .432 .842 .568.

Mistaken examples lower Pass@1 faster than Pass@64; more steps with more of them bring nothing that fewer of both
do not. Fewer steps without them (330, in an earlier sketch: .09, .75 at 64, .60) cost more Pass@64.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tokenizers
import torch
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ngrpo.tasks.countdown import Countdown
from ngrpo.tasks.countdown.expressions import to_postfix
from ngrpo.tasks.countdown.puzzles import random_expression
from ngrpo.types import Problem

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"
LARGEST_NUMBER = 60
COMPLETION_TOKENS = 8
"""Four numbers, three operators and the end of the sequence."""
ASSETS = Path(__file__).resolve().parents[1] / "src/ngrpo/models/assets/countdown-base"


CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# countdown-base

A Llama of {parameters:,} parameters that has seen Countdown problems and is rarely right: a start for
reinforcement learning with `ngrpo` on a CPU. Prompt `2 7 9 12 = 37 :`, completion in postfix
`2 9 * 12 + 7 +`, one token per number; it knows the numbers 0 to 60 and was trained on problems of four
numbers only. No chat template.

Made by

    PYTHONPATH=src python scripts/make_countdown_base.py {command}

with the settings `{settings}`.
The share `mistaken` of the examples shows a random expression over the given numbers in place of a solution.
No problem of the task's test side was among them.

Measured by the same command on the 1,024 test problems of `Countdown()`, 64 samples each, temperature 1:

| | |
|---|---|
{rows}

`all_wrong_of_8` is the expected share of groups of 8 samples without a correct one.
"""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights."""

    steps: int = 600
    batch: int = 256
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    mistaken: float = 0.1
    seed: int = 0

    def learning_rate_at(self, step: int) -> float:
        """Returns the learning rate of a 0-based step: linear warm-up, then linear to 0."""
        falling = (self.steps - step) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * min((step + 1) / self.warmup_steps, falling)


def build_tokenizer() -> Any:
    """Returns the tokenizer: one token per number, operator and sign, split at white space."""
    words = [PAD, EOS, UNKNOWN, ":", "=", "+", "-", "*", "/", *map(str, range(LARGEST_NUMBER + 1))]
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=UNKNOWN)
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        padding_side="left",
        model_max_length=64,
        clean_up_tokenization_spaces=False,
    )


def build_model(tokenizer: Any) -> Any:
    """Returns the untrained model, 0.34 M parameters."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=3,  # 32 numbers wide: vLLM's attention on a CPU takes 32, but not 24
        num_key_value_heads=3,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=2 * 6,  # the longest setting of the task: six numbers, five operators, the end
    )
    return model


def example(task: Countdown, rng: random.Random, mistaken: float) -> str:
    """Returns prompt, expression and end of sequence for a problem of the train side.

    With probability `mistaken` the expression is a random one over the same numbers, whatever its value.
    """
    puzzle = task.puzzle(rng, "train")
    expression = puzzle.solution
    if rng.random() < mistaken:
        expression, _ = random_expression(rng, puzzle.numbers)
    prompt = task.messages(task.problem("train", 0, puzzle))[0].content
    return f"{prompt} {to_postfix(expression)} {EOS}"


def train(model: Any, tokenizer: Any, task: Countdown, recipe: Recipe) -> None:
    """Fits the model to fresh random examples; the loss covers what follows the prompt."""
    rng = random.Random(f"countdown-base/{recipe.seed}")
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95))
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(step)
        texts = [example(task, rng, recipe.mistaken) for _ in range(recipe.batch)]
        tokens = tokenizer(texts, return_tensors="pt")["input_ids"]
        written = tokens[:, -COMPLETION_TOKENS:]
        logits = model(input_ids=tokens).logits[:, -COMPLETION_TOKENS - 1 : -1]
        loss = cross_entropy(logits.flatten(0, 1), written.flatten())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)


@torch.inference_mode()
def sample(model: Any, tokenizer: Any, prompts: Sequence[str], samples: int) -> list[list[str]]:
    """Returns `samples` completions per prompt at temperature 1; the prompts have equal numbers of tokens."""
    tokens = tokenizer(list(prompts), return_tensors="pt")["input_ids"].repeat_interleave(samples, dim=0)
    output = model(input_ids=tokens, use_cache=True)
    written = []
    for _ in range(COMPLETION_TOKENS):
        drawn = torch.multinomial(output.logits[:, -1].float().softmax(-1), 1)
        written.append(drawn)
        output = model(input_ids=drawn, past_key_values=output.past_key_values, use_cache=True)
    texts = [_decode(tokenizer, row) for row in torch.cat(written, dim=1).tolist()]
    return [texts[start : start + samples] for start in range(0, len(texts), samples)]


def _decode(tokenizer: Any, row: list[int]) -> str:
    if tokenizer.eos_token_id in row:
        row = row[: row.index(tokenizer.eos_token_id)]
    return str(tokenizer.decode(row))


def count_correct(model: Any, tokenizer: Any, task: Countdown, problems: Sequence[Problem], samples: int) -> list[int]:
    """Returns how many of a problem's samples are correct, per problem."""
    counts: list[int] = []
    for start in range(0, len(problems), 64):
        chunk = problems[start : start + 64]
        groups = sample(model, tokenizer, [task.messages(problem)[0].content for problem in chunk], samples)
        for problem, texts in zip(chunk, groups, strict=True):
            grades = task.grade_many([(problem, text) for text in texts])
            counts.append(sum(grade.status == "correct" for grade in grades))
    return counts


def mean_pass_at_k(counts: Sequence[int], samples: int, k: int) -> float:
    """Returns the unbiased chance that at least one of k samples is correct, averaged over problems."""
    draws = math.comb(samples, k)
    return sum(1 - math.comb(samples - count, k) / draws for count in counts) / len(counts)


def measure(model: Any, tokenizer: Any, task: Countdown, samples: int) -> dict[str, float]:
    """Returns Pass@k on the test split and the share of groups of 8 without a correct completion."""
    counts = count_correct(model, tokenizer, task, task.problems("test"), samples)
    figures = {f"pass@{k}": mean_pass_at_k(counts, samples, k) for k in (1, 2, 4, 8, 16, 32, 64) if k <= samples}
    return {**figures, "all_wrong_of_8": 1 - figures["pass@8"]}


def model_card(model: Any, recipe: Recipe, figures: dict[str, float]) -> str:
    """Returns the README of the model folder."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    command = f"--steps {recipe.steps} --mistaken {recipe.mistaken} --seed {recipe.seed}"
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in figures.items())
    settings = json.dumps(asdict(recipe))
    return CARD.format(parameters=parameters, command=command, rows=rows, settings=settings)


def main() -> None:
    """Trains, measures and saves the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ASSETS)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--mistaken", type=float, default=Recipe.mistaken)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    arguments = parser.parse_args()
    recipe = Recipe(steps=arguments.steps, mistaken=arguments.mistaken, seed=arguments.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(recipe.seed)
    task, tokenizer = Countdown(), build_tokenizer()
    model = build_model(tokenizer)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters; {asdict(recipe)}", flush=True)
    started = time.perf_counter()
    train(model, tokenizer, task, recipe)
    trained = time.perf_counter()
    figures = measure(model, tokenizer, task, samples=64)
    print(json.dumps({key: round(value, 4) for key, value in figures.items()}))
    print(f"trained in {trained - started:.0f} s, measured in {time.perf_counter() - trained:.0f} s")
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    (arguments.out / "README.md").write_text(model_card(model, recipe, figures), encoding="utf-8")


if __name__ == "__main__":
    main()
