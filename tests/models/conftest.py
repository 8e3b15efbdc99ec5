"""Random models of many families, small enough to train in a second."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from ngrpo.config import ModelSettings
from ngrpo.models import LanguageModel, load_language_model

TOKENS = torch.tensor([[5, 6, 7, 8, 9], [20, 30, 40, 50, 60]])
DENSE: dict[str, Any] = {
    "vocab_size": 300,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": None,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
MIXTURE = {
    **DENSE,
    "head_dim": 4,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 8,
}
GROUPED = {"n_routed_experts": 4, "n_shared_experts": 1, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 4}
DEEPSEEK = {
    **DENSE,
    "num_key_value_heads": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 8,
    **GROUPED,
    **LATENT,
}
SHAPES: dict[str, dict[str, Any]] = {
    "qwen2": DENSE,
    "qwen3": {**DENSE, "head_dim": 4},
    "llama": DENSE,
    "gemma2": {**DENSE, "head_dim": 4},
    "phi3": DENSE,
    "gpt2": {"vocab_size": 300, "eos_token_id": 2, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "opt": {**DENSE, "ffn_dim": 24, "word_embed_proj_dim": 16},
    "qwen3_moe": MIXTURE,
    "qwen2_moe": {**MIXTURE, "shared_expert_intermediate_size": 8},
    "mixtral": MIXTURE,
    "olmoe": MIXTURE,
    "gpt_oss": {**MIXTURE, "layer_types": ["full_attention"] * 2},
    "phimoe": MIXTURE,
    "granitemoe": MIXTURE,
    "deepseek_v3": DEEPSEEK,
    "glm4_moe": {**MIXTURE, **GROUPED},
}


def load(folder: Path, *, for_training: bool = False, **settings: Any) -> LanguageModel:
    table = {"path": str(folder), "device": "cpu", "dtype": "float32", **settings}
    return load_language_model(ModelSettings.parse(table), for_training=for_training)


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model(input_ids=TOKENS).logits  # type: ignore[no-any-return]


def change(parameters: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in parameters:
            parameter.normal_(0.0, 0.2, generator=generator)


@pytest.fixture
def make_model(tiny_model_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a random model of a family, changed by settings of its config, with the tiny model's tokenizer."""

    def make(family: str, **settings: Any) -> Path:
        config = CONFIG_MAPPING[family](**{**SHAPES[family], **settings})
        model = AutoModelForCausalLM.from_config(config)
        change(parameter for parameter in model.parameters() if parameter.ndim >= 2)
        folder = tmp_path / family
        model.save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tiny_model_folder / name, folder)
        return folder

    return make
