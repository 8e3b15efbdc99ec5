"""Makes a small random Qwen2 model with a byte-level tokenizer trained on a task's problems.

    python scripts/make_random_qwen2.py OUT --task math:math_test.parquet --hidden 64 --layers 2 --vocabulary 2000

It answers nothing right, but everything about it is real: chat template, special tokens, tied embeddings, safetensors.
It serves to run the mathematics configs where no model hub is reached, and for measuring with real shapes
(`--hidden 896 --layers 24 --heads 14 --kv-heads 2 --intermediate 4864` is the shape of Qwen2.5-0.5B).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from ngrpo.tasks import load_task

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_level_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Returns a byte-level BPE tokenizer with Qwen's special tokens and chat template, trained on the texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, START, STOP],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=STOP, pad_token=END, additional_special_tokens=[START]
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def random_model(
    tokenizer: PreTrainedTokenizerFast,
    *,
    vocabulary: int,
    hidden: int,
    intermediate: int,
    layers: int,
    heads: int,
    kv_heads: int,
    seed: int = 0,
) -> Qwen2ForCausalLM:
    """Returns a model with random weights, of at least as many tokens as the tokenizer has."""
    torch.manual_seed(seed)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=max(vocabulary, len(tokenizer)),
            hidden_size=hidden,
            intermediate_size=intermediate,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def main() -> None:
    """Writes the model folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--task", required=True, help="task whose problems train the tokenizer, such as math:FILE")
    parser.add_argument("--vocabulary", type=int, default=2000)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--intermediate", type=int, default=192)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    problems = load_task({"name": given.task}).problems("test")
    tokenizer = byte_level_tokenizer((problem.question for problem in problems), given.vocabulary)
    model = random_model(
        tokenizer,
        vocabulary=given.vocabulary,
        hidden=given.hidden,
        intermediate=given.intermediate,
        layers=given.layers,
        heads=given.heads,
        kv_heads=given.kv_heads,
        seed=given.seed,
    )
    model.save_pretrained(given.out)
    tokenizer.save_pretrained(given.out)
    print(f"{given.out}: {model.num_parameters():,} parameters, {len(tokenizer):,} tokens")


if __name__ == "__main__":
    main()
