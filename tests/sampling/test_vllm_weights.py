"""What vLLM is given to load and to sample with; without vLLM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import ngrpo.sampling.samplers
import ngrpo.sampling.vllm_sampler
from ngrpo.config import Config, config_of
from ngrpo.models import load_language_model
from ngrpo.sampling.samplers import evaluation_sampler, training_sampler


class FakeLLM:
    """Keeps what it was started with and every set of weights."""

    def __init__(self, path: str, _settings: Any, **arguments: Any) -> None:
        self.path, self.arguments, self.loaded = path, arguments, {}
        self.llm_engine = self
        self.model_config = self

    def get_vocab_size(self) -> int:
        return 61

    def collective_rpc(self, _name: str, kwargs: dict[str, Any]) -> None:
        self.loaded = {name: tensor.clone() for name, tensor in kwargs["weights_iterator"]}

    def reset_prefix_cache(self) -> None:
        pass


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    monkeypatch.setattr(ngrpo.sampling.vllm_sampler, "_load", FakeLLM)
    monkeypatch.setattr(ngrpo.sampling.samplers, "_check_weights", lambda *_: None)

    def make(path: str, **model: Any) -> Config:
        tables = {
            "model": {"path": path, "device": "cpu", "dtype": "float32", **model},
            "task": {"name": "countdown"},
            "sampling": {"sampler": "vllm", "max_prompt_tokens": 32, "max_completion_tokens": 8},
        }
        return config_of(tables)

    return make


@pytest.mark.parametrize("targets", [["q_proj"], ["lm_head"], ["embed_tokens"], []])
def test_vllm_has_the_merged_weights_in_training_and_of_the_checkpoint(
    config: Callable[..., Config], tmp_path: Path, targets: list[str]
) -> None:
    base = "builtin:countdown-base"
    training = config(base, lora={"rank": 2, "target_modules": targets})
    policy = load_language_model(training.model, for_training=True)
    with torch.no_grad():
        for _, parameter in policy.trained_parameters():
            parameter.normal_(0.0, 0.1, generator=torch.Generator().manual_seed(0))
    in_training = training_sampler(training, policy)._llm  # type: ignore[attr-defined]
    policy.save(tmp_path / "adapter")
    sampler = evaluation_sampler(config(str(tmp_path / "adapter")), print)
    evaluating = sampler.sampler._llm  # type: ignore[attr-defined]
    load_language_model(config(str(tmp_path / "adapter")).model, for_training=False).save(tmp_path / "whole")
    whole = load_file(tmp_path / "whole" / "model.safetensors")
    untied = bool({"lm_head", "embed_tokens"} & set(targets))
    for llm in (in_training, evaluating):
        assert Path(llm.path).name == "countdown-base"
        assert llm.arguments.get("hf_overrides") == ({"tie_word_embeddings": False} if untied else None)
        assert ("lm_head.weight" in llm.loaded) == untied
        assert llm.loaded.keys() == whole.keys()
        for name, tensor in whole.items():
            torch.testing.assert_close(llm.loaded[name], tensor, atol=1e-6, rtol=1e-5)


def test_a_whole_model_is_loaded_by_vllm_itself(config: Callable[..., Config]) -> None:
    llm = evaluation_sampler(config("builtin:countdown-base"), print).sampler._llm  # type: ignore[attr-defined]
    assert llm.arguments["load_format"] == "auto"
    assert "hf_overrides" not in llm.arguments
    assert llm.loaded == {}
