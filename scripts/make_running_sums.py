"""Makes the second task of the study: running sums, with a base model that is often wrong.

    python scripts/make_running_sums.py models/running-sums

A problem is `38+67+94=`, two to five numbers of two digits; the completion adds one number after the other,
`38+67=105,105+94=199####199`, 14 to 47 tokens, one for each character. OUT gets train.jsonl, few.jsonl (its first
160), test.jsonl and base/. It takes five minutes on one core and is deterministic on one machine.

The base model has seen too few examples to add reliably, and the share `mistaken` of the steps that it was shown is
wrong. No problem of the test file was among them. The scan, 256 test problems, 64 samples each (0.2: 128 and 16):

    mistaken  Pass@1  Pass@8  Pass@64
        0.2    .290    .838
        0.25   .033    .202     .699
        0.35   .028    .195     .758   <- chosen: 80 % of the groups of 8 are all-wrong
        0.5    .021    .152     .680

Between the first two, 300 steps are just enough for addition to be learnt; below, it is not, whatever the share.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import tokenizers
import torch
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ngrpo.storage import json_line

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"
POSITIONS = 96
BATCH, LEARNING_RATE, WARMUP = 256, 3e-3, 50
SIZES = {"train": 16_384, "test": 512}
FEW = 160


def numbers_of(rng: random.Random, split: str) -> list[int]:
    """Returns the numbers of a random problem of a side: which side it is on depends on the problem alone."""
    while True:
        numbers = [rng.randint(10, 99) for _ in range(rng.randint(2, 5))]
        digest = hashlib.blake2b(question_of(numbers).encode(), digest_size=8).digest()
        if (int.from_bytes(digest, "big") % 5 == 0) == (split == "test"):
            return numbers


def question_of(numbers: Sequence[int]) -> str:
    """Returns the question, the prompt without its last sign."""
    return "+".join(map(str, numbers))


def solution_of(numbers: Sequence[int], rng: random.Random, mistaken: float) -> str:
    """Returns the running sums and the answer; with probability `mistaken` a step's sum is wrong, and goes on so."""
    total, steps = numbers[0], []
    for number in numbers[1:]:
        found = total + number
        if rng.random() < mistaken:
            found = max(0, found + rng.choice((-100, -20, -11, -10, -9, -2, -1, 1, 2, 9, 10, 11, 20, 100)))
        steps.append(f"{total}+{number}={found}")
        total = found
    return f"{','.join(steps)}####{total}"


def problems(split: str) -> Iterator[dict[str, Any]]:
    """Yields different problems of a side, without end."""
    rng, seen = random.Random(f"running-sums/{split}"), set()
    while True:
        numbers = numbers_of(rng, split)
        question = question_of(numbers)
        if question not in seen:
            seen.add(question)
            yield {"id": f"{split}-{len(seen) - 1}", "question": question, "answer": str(sum(numbers))}


def build_tokenizer() -> Any:
    """Returns the tokenizer: one token per character, and one for the mark before the answer."""
    words = [PAD, EOS, UNKNOWN, "+", "=", ",", "####", *"0123456789"]
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=UNKNOWN)
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("####|."), "isolated")
    backend.decoder = tokenizers.decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        padding_side="right",
        model_max_length=POSITIONS,
        clean_up_tokenization_spaces=False,
    )


def build_model(tokenizer: Any) -> Any:
    """Returns the untrained model, 0.33 M parameters, as large as the one of Countdown."""
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=3,
        num_key_value_heads=3,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        **ends,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, **ends)
    return model


def train(model: Any, tokenizer: Any, *, steps: int, mistaken: float) -> None:
    """Fits the model to fresh random examples; the loss covers what follows the prompt."""
    rng = random.Random("running-sums/examples")
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.95))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min((step + 1) / WARMUP, (steps - step) / max(1, steps - WARMUP))
        drawn = [numbers_of(rng, "train") for _ in range(BATCH)]
        questions = [f"{question_of(numbers)}=" for numbers in drawn]
        texts = [q + solution_of(numbers, rng, mistaken) + EOS for q, numbers in zip(questions, drawn, strict=True)]
        read = tokenizer(texts, return_tensors="pt", padding=True)
        labels = read["input_ids"].masked_fill(read["attention_mask"] == 0, -100)
        for row, question in enumerate(questions):
            labels[row, : len(question)] = -100
        logits = model(**read).logits[:, :-1]
        loss = cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)


def main() -> None:
    """Writes the problems, trains and saves the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--mistaken", type=float, default=0.35)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for split, size in SIZES.items():
        lines = [json_line(problem) for problem in islice(problems(split), size)]
        (given.out / f"{split}.jsonl").write_bytes(b"".join(lines))
        if split == "train":
            (given.out / "few.jsonl").write_bytes(b"".join(lines[:FEW]))
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(given.seed)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    print(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters", flush=True)
    started = time.perf_counter()
    train(model, tokenizer, steps=given.steps, mistaken=given.mistaken)
    print(f"trained in {time.perf_counter() - started:.0f} s: {given.out / 'base'}")
    for part in (model, tokenizer):
        part.save_pretrained(given.out / "base")


if __name__ == "__main__":
    main()
