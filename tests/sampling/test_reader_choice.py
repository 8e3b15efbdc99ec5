from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from ngrpo.models import LanguageModel
from ngrpo.models.plain_decoder import PlainDecoder
from ngrpo.sampling.cached_forward import CachedReader
from ngrpo.sampling.plain_reader import PlainReader
from ngrpo.sampling.transformers_sampler import TransformersSampler

from .conftest import SHAPE


def random_lm(family: str, *, dtype: torch.dtype = torch.float32, **shape: Any) -> LanguageModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**{**SHAPE, **shape})).float().eval()
    return LanguageModel(model, None, torch.device("cpu"), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_plain_steps_where_they_are_exact(family: str, dtype: torch.dtype) -> None:
    assert isinstance(TransformersSampler(random_lm(family, dtype=dtype)).reader(), PlainReader)


def test_the_models_own_pass_for_other_families() -> None:
    assert isinstance(TransformersSampler(random_lm("mistral", sliding_window=4)).reader(), CachedReader)


def test_the_models_own_pass_where_prompts_are_not_to_be_shared() -> None:
    assert isinstance(TransformersSampler(random_lm("llama"), shares_prompts=False).reader(), CachedReader)


def test_the_models_own_pass_where_plain_steps_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlainDecoder, "scaling", 0.4)  # it is 0.5
    assert isinstance(TransformersSampler(random_lm("llama", initializer_range=0.5)).reader(), CachedReader)


@pytest.mark.parametrize("part", ["", "model", "model.layers.1.mlp"])
def test_a_hook_sees_the_models_own_pass(part: str) -> None:
    lm = random_lm("llama")
    choice = TransformersSampler(lm)
    handle = lm.model.get_submodule(part).register_forward_hook(lambda *_: None)
    assert isinstance(choice.reader(), CachedReader)
    handle.remove()
    assert isinstance(choice.reader(), PlainReader)


def test_a_hook_on_the_output_head_is_called_by_plain_steps() -> None:
    lm = random_lm("llama")
    calls: list[int] = []
    choice = TransformersSampler(lm)
    lm.model.lm_head.register_forward_hook(lambda *_: calls.append(1))
    reader = choice.reader()
    with lm.inference():
        reader.read_prompts([torch.arange(3).numpy()], [2], 4)
        reader.read(torch.tensor([3, 4]))
    assert isinstance(reader, PlainReader)
    assert len(calls) == 2


def test_adapters_count_in_plain_steps() -> None:
    from peft import LoraConfig, get_peft_model

    lm = random_lm("llama")
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapted = get_peft_model(lm.model, LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM"))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(0.0, 0.5)
    with_adapters = LanguageModel(adapted, None, lm.device, lm.dtype)
    reader = TransformersSampler(with_adapters).reader()
    assert isinstance(reader, PlainReader)
    with with_adapters.inference():
        reader.read_prompts([np.arange(5)], [2], 4)
        ours = reader.read(torch.tensor([8, 9]))
        wanted = adapted(input_ids=torch.tensor([[0, 1, 2, 3, 4, 8], [0, 1, 2, 3, 4, 9]])).logits[:, -1]
        with with_adapters.starting_weights():
            before = adapted(input_ids=torch.tensor([[0, 1, 2, 3, 4, 8]])).logits[:, -1]
    assert torch.allclose(ours, wanted, atol=1e-5)
    assert not torch.allclose(ours[:1], before, atol=1e-2)
