"""Adapters: where they go, and that every way to merge them gives the model that was trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from ngrpo.models import LanguageModel, base_of_adapters
from tests.models.conftest import SHAPES, change, load, logits

pytestmark = pytest.mark.filterwarnings("ignore:.*tie_word_embeddings", "ignore:.*no longer tied", "ignore:fan_in")

MakeModel = Callable[..., Path]
TARGETS: tuple[tuple[str, ...], ...] = (
    (),
    ("q_proj",),
    ("lm_head",),
    ("embed_tokens",),
    ("q_proj", "lm_head", "embed_tokens"),
)


def adapted(folder: Path, *targets: str) -> LanguageModel:
    lm = load(folder, for_training=True, lora={"rank": 2, "target_modules": list(targets)})
    change(parameter for _, parameter in lm.trained_parameters())
    return lm


def adapted_layers(lm: LanguageModel) -> set[str]:
    names = (name.removeprefix("base_model.model.").split(".lora_")[0] for name, _ in lm.trained_parameters())
    return {name.replace(".base_layer", "") for name in names}


def check_merged(lm: LanguageModel, folder: Path) -> None:
    """The saved adapter, the whole model that it merges to, and the weights for vLLM are all the trained model."""
    ours = logits(lm.model)
    lm.save(folder)
    assert not list(folder.glob("model*.safetensors"))
    merged = load(folder)
    torch.testing.assert_close(logits(merged.model), ours, atol=3e-4, rtol=1e-3)
    merged.save(folder / "whole")
    whole = AutoModelForCausalLM.from_pretrained(folder / "whole")
    torch.testing.assert_close(logits(whole), ours, atol=3e-4, rtol=1e-3)
    assert whole.config.tie_word_embeddings == merged.is_tied == lm.is_tied
    saved, handed_over = load_file(folder / "whole" / "model.safetensors"), dict(lm.checkpoint_weights())
    assert saved.keys() == handed_over.keys()
    for name, tensor in saved.items():
        torch.testing.assert_close(handed_over[name], tensor, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("targets", TARGETS, ids=lambda targets: "+".join(targets) or "default")
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_merged_weights_are_the_trained_model(
    make_model: MakeModel, tmp_path: Path, tied: bool, targets: tuple[str, ...]
) -> None:
    folder = make_model("qwen2", tie_word_embeddings=tied)
    before = logits(load(folder).model)
    lm = adapted(folder, *targets)
    assert (logits(lm.model) - before).abs().max() > 0.1
    with lm.starting_weights():
        torch.testing.assert_close(logits(lm.model), before)
    check_merged(lm, tmp_path / "adapter")
    assert lm.is_tied == (tied and not {"lm_head", "embed_tokens"} & set(targets))


@pytest.mark.parametrize("family", SHAPES)
def test_default_targets_are_attention_and_mlp_in_every_family(
    make_model: MakeModel, tmp_path: Path, family: str
) -> None:
    lm = adapted(make_model(family))
    layers = adapted_layers(lm)
    head = {"lm_head", "embed_tokens", "wte", "wpe", "embed_positions"}
    assert not {name for name in layers if head & set(name.split("."))}
    assert not {name for name in layers if name.endswith((".gate", "_gate", ".router")) or ".router." in name}
    plain = load(tmp_path / family).plain
    for module_name, module in plain.named_modules():
        linear = type(module).__name__ in ("Linear", "Conv1D") and module is not plain.get_output_embeddings()
        if linear and not module_name.endswith(("gate", "router", "router.layer")):
            assert module_name in layers
    if "num_experts" in SHAPES[family] or "n_routed_experts" in SHAPES[family]:
        assert any("experts" in name or "_linear" in name for name in layers)
    check_merged(lm, tmp_path / "adapter")


def test_default_layers_of_deepseek(make_model: MakeModel) -> None:
    attention = ("kv_a_proj_with_mqa", "kv_b_proj", "o_proj", "q_a_proj", "q_b_proj")
    dense = ("down_proj", "gate_proj", "up_proj")
    assert adapted_layers(adapted(make_model("deepseek_v3"))) == {
        *(f"model.layers.{layer}.self_attn.{name}" for layer in (0, 1) for name in attention),
        *(f"model.layers.0.mlp.{name}" for name in dense),
        *(f"model.layers.1.mlp.shared_experts.{name}" for name in dense),
        "model.layers.1.mlp.experts",
    }


FOREIGN: dict[str, dict[str, Any]] = {
    "dora": {"target_modules": ["q_proj", "lm_head"], "use_dora": True},
    "dora on the embedding": {"target_modules": ["q_proj", "embed_tokens"], "use_dora": True},
    "a trained head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "a trained embedding": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "a bias": {"target_modules": ["q_proj"], "bias": "lora_only"},
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_adapters_of_other_programs_load_as_peft_computes_them(
    make_model: MakeModel, tmp_path: Path, kind: str, tied: bool
) -> None:
    from peft import LoraConfig, get_peft_model

    folder = make_model("qwen2", tie_word_embeddings=tied)
    config = LoraConfig(r=2, task_type="CAUSAL_LM", **FOREIGN[kind])
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config).eval()
    model.peft_config["default"].base_model_name_or_path = str(folder)
    change(parameter for parameter in model.parameters() if parameter.requires_grad)
    theirs = logits(model)
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "adapter" / name).write_bytes((folder / name).read_bytes())
    lm = load(tmp_path / "adapter", for_training=True)
    torch.testing.assert_close(logits(lm.model), theirs, atol=3e-4, rtol=1e-3)
    lm.save(tmp_path / "whole")
    whole = load(tmp_path / "whole")
    torch.testing.assert_close(logits(whole.model), theirs, atol=3e-4, rtol=1e-3)


def test_the_base_under_two_adapters(make_model: MakeModel, tmp_path: Path) -> None:
    folder = make_model("qwen2", tie_word_embeddings=True)
    first = adapted(folder, "lm_head")
    first.save(tmp_path / "first")
    second = adapted(tmp_path / "first", "embed_tokens")
    second.save(tmp_path / "second")
    assert base_of_adapters(str(tmp_path / "second")) == str(folder)
    torch.testing.assert_close(logits(load(tmp_path / "second").model), logits(second.model), atol=3e-4, rtol=1e-3)
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"]
