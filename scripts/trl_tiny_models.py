"""Local stand-ins for the tiny models and data sets of TRL's own tests, for `scripts/trl_own_tests.py`.

The weights are random; the architecture of each family and TRL's chat templates are real. The vocabulary is bytes and
the few tokens of Qwen3's that the tests write as numbers, which are replaced in the copy of the tests: with all of its
151,669 a test takes minutes on a CPU. Vision models, NemotronH and models with remote code are left out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerFast

OWNER = "trl-internal-testing"

SPECIAL = {
    "<|endoftext|>": 151643,
    "<|im_start|>": 151644,
    "<|im_end|>": 151645,
    "<tool_call>": 151657,
    "</tool_call>": 151658,
    "<tool_response>": 151665,
    "</tool_response>": 151666,
    "<think>": 151667,
    "</think>": 151668,
}
TOKENS = {
    " b": 293, " {": 314, ' "': 330, ">\n": 397, "out": 411, "dec": 450, '",': 497, "</": 522, "name": 606,
    '":': 788, " any": 894, "sh": 927, "'t": 944, "text": 1318, " know": 1414, " don": 1513, " won": 2765,
    '{"': 4913, ' {"': 5212, " tool": 5392, "hi": 6023, "call": 6659, "async": 7692, "step": 9520, "}}\n": 11248,
    "rement": 13477, "tool": 14172, " increment": 16252, "arguments": 16370, "Done": 17453, "_tool": 22785,
    "increment": 35744, "multiply": 64648, "_multiply": 93054, '"}}\n': 95642,
}  # fmt: skip
"""Tokens by their numbers in Qwen3's vocabulary."""

SHORT_NUMBERS = {number: 256 + place for place, number in enumerate([*SPECIAL.values(), *TOKENS.values()])}
"""Numbers of Qwen3's vocabulary to those of ours; both number the 256 bytes alike."""

SHAPE: dict[str, Any] = {
    "hidden_size": 8,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": None,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 4}

CAUSAL: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny-Qwen2ForCausalLM-2.5": ("qwen2", {}),
    "tiny-Qwen3ForCausalLM": ("qwen3", {"head_dim": 4}),
    "tiny-Qwen3MoeForCausalLM": ("qwen3_moe", EXPERTS),
    "tiny-LlamaForCausalLM-3.2": ("llama", {}),
    "tiny-MistralForCausalLM-0.2": ("mistral", {}),
    "tiny-Cohere2ForCausalLM": ("cohere2", {}),
    "tiny-Gemma2ForCausalLM": ("gemma2", {"head_dim": 4, "query_pre_attn_scalar": 4}),
    "tiny-GptOssForCausalLM": ("gpt_oss", {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 4}),
    "tiny-Glm4MoeForCausalLM": (
        "glm4_moe",
        {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 4},
    ),
}
REWARD = {
    "tiny-Qwen2ForSequenceClassification-2.5": ("qwen2", {}),
    "tiny-Qwen3ForSequenceClassification": ("qwen3", {"head_dim": 4}),
    "tiny-LlamaForSequenceClassification-3.2": ("llama", {}),
}


def tokenizer(template: str) -> PreTrainedTokenizerFast:
    """Returns a tokenizer of single bytes that decodes the tokens above, with one of TRL's chat templates."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [*map(chr, printable), *(chr(256 + n) for n in range(256 - len(printable)))]
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    vocabulary |= {token: SHORT_NUMBERS[number] for token, number in SPECIAL.items()}
    vocabulary |= {split.pre_tokenize_str(text)[0][0]: SHORT_NUMBERS[number] for text, number in TOKENS.items()}
    whole = Tokenizer(models.BPE(vocabulary, []))
    whole.pre_tokenizer, whole.decoder = split, decoders.ByteLevel()
    whole.add_special_tokens(list(SPECIAL))
    end, padding = "<|im_end|>", "<|endoftext|>"
    made = PreTrainedTokenizerFast(tokenizer_object=whole, eos_token=end, pad_token=padding)
    made.chat_template = (Path(trl.__file__).parent / "chat_templates" / f"{template}.jinja").read_text()
    return made


def with_short_numbers(tests: str) -> str:
    """Returns a test file with our numbers in its lists of Qwen3's tokens, the lines that hold an end token."""
    ends = re.compile(r"\b15164[35]\b")
    lines = tests.splitlines(keepends=True)
    return "".join(re.sub(r"\b\d+\b", _short, line) if ends.search(line) else line for line in lines)


def _short(number: re.Match[str]) -> str:
    return str(SHORT_NUMBERS.get(int(number[0]), number[0]))


def write_models(folder: Path) -> None:
    """Writes each model into `folder/trl-internal-testing/NAME`, where transformers finds it by its hub name."""
    for kind, table in ((AutoModelForCausalLM, CAUSAL), (AutoModelForSequenceClassification, REWARD)):
        for name, (model_type, changes) in table.items():
            torch.manual_seed(0)
            words = tokenizer("qwen2_5" if model_type == "qwen2" else "qwen3")
            ids = {"vocab_size": len(words), "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id}
            labels = {} if kind is AutoModelForCausalLM else {"num_labels": 1}
            model = kind.from_config(AutoConfig.for_model(model_type, **{**SHAPE, **ids, **changes}, **labels))
            model.save_pretrained(folder / OWNER / name)
            words.save_pretrained(folder / OWNER / name)


def write_data(folder: Path) -> None:
    """Writes the data set `zen`, 5 rows to train on and 2 to test, prompts as text and as conversations."""
    texts = [f"Line {number} of {total} is" for total in (5, 2) for number in range(total)]
    conversations = [[{"role": "user", "content": text}] for text in texts]
    readme = ["---", "configs:"]
    for config, prompts in (("standard_prompt_only", texts), ("conversational_prompt_only", conversations)):
        readme += [f"- config_name: {config}", "  data_files:"]
        for split, rows in (("train", prompts[:5]), ("test", prompts[5:])):
            path = f"{config}/{split}.parquet"
            Dataset.from_dict({"prompt": rows}).to_parquet(folder / OWNER / "zen" / path)
            readme += [f"  - split: {split}", f"    path: {path}"]
    (folder / OWNER / "zen" / "README.md").write_text("\n".join([*readme, "---", ""]))
