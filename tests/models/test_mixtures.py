"""Mixtures of experts, and what is switched off for training but not in saved models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from ngrpo.errors import ConfigError
from ngrpo.losses import load_balancing_loss
from ngrpo.sampling import Decoding, Prompt
from ngrpo.sampling.transformers_sampler import TransformersSampler
from ngrpo.types import Problem
from tests.models.conftest import TOKENS, load, logits

MakeModel = Callable[..., Path]
WITH_ROUTER_LOGITS = ("qwen3_moe", "qwen2_moe", "mixtral", "olmoe", "gpt_oss", "granitemoe", "phimoe")


@pytest.mark.parametrize("family", WITH_ROUTER_LOGITS)
def test_router_logits_are_off_in_training_and_as_before_in_the_saved_config(
    make_model: MakeModel, tmp_path: Path, family: str
) -> None:
    lm = load(make_model(family, output_router_logits=True), for_training=True)
    prompt = Prompt(Problem("p", "", ""), TOKENS[0].numpy())
    (sampled,) = TransformersSampler(lm).sample([prompt], [0], Decoding(max_completion_tokens=4), seed=0, round_name="")
    ids = torch.cat([TOKENS[0], torch.from_numpy(sampled[0].tokens)])[None]
    with torch.no_grad():
        scored = lm.head(lm.hidden_states(ids))[0, len(TOKENS[0]) - 1 : -1].log_softmax(-1)
    expected = scored.gather(-1, ids[0, len(TOKENS[0]) :, None])[:, 0]
    torch.testing.assert_close(torch.from_numpy(sampled[0].logprobs), expected, atol=1e-4, rtol=1e-4)
    assert lm.facts[0].startswith("mixture of experts: the router's auxiliary loss (load balancing) is not trained")
    lm.save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["output_router_logits"] is True
    assert lm.plain.config.output_router_logits is False


def test_a_dense_model_has_nothing_to_say(make_model: MakeModel) -> None:
    assert load(make_model("qwen2")).facts == []


@pytest.mark.parametrize("checkpointing", [False, True])
def test_phi_moe_is_the_reference_in_evaluation_and_training(make_model: MakeModel, checkpointing: bool) -> None:
    """Its router_jitter_noise masks experts in evaluation too; in training mode it picks experts at random."""
    folder = make_model("phimoe", router_jitter_noise=0.1, input_jitter_noise=0.3, attention_dropout=0.2)
    reference = logits(AutoModelForCausalLM.from_pretrained(folder).eval())
    without = AutoModelForCausalLM.from_pretrained(folder, router_jitter_noise=0.0).eval()
    assert not torch.allclose(logits(without), reference, atol=1e-2)
    lm = load(folder, for_training=True, gradient_checkpointing=checkpointing)
    for _ in range(2):
        assert torch.equal(lm.head(lm.hidden_states(TOKENS)), reference)
        with lm.inference():
            assert torch.equal(lm.head(lm.hidden_states(TOKENS)), reference)
    lm.head(lm.hidden_states(TOKENS)).log_softmax(-1)[..., 3].sum().backward()
    routers = [p.grad for name, p in lm.trained_parameters() if "router" in name]
    assert any(gradient.abs().max() > 0 for gradient in routers)  # none where the mask leaves one expert


@pytest.mark.parametrize("family", [name for name in WITH_ROUTER_LOGITS if name not in {"phimoe", "granitemoe"}])
def test_the_routers_loss_is_that_of_transformers(make_model: MakeModel, family: str) -> None:
    """The same value and the same gradient as the model's own auxiliary loss."""
    folder = make_model(family, router_aux_loss_coef=0.03)
    lm = load(folder, for_training=True, router_aux_loss_coef="config")
    assert lm.router_aux_loss_coef == 0.03
    assert lm.facts[0] == "mixture of experts: load-balancing loss of the router, weight 0.03"
    hidden, router_logits = lm.routed_hidden_states(TOKENS)
    torch.testing.assert_close(hidden, lm.hidden_states(TOKENS))
    ours = load_balancing_loss(torch.cat(router_logits), lm.experts_per_token)
    theirs = lm.plain(input_ids=TOKENS, output_router_logits=True).aux_loss
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert ours > lm.experts_per_token + 1e-4
    parameters = [parameter for name, parameter in lm.trained_parameters() if "router" in name or "gate." in name]
    found = torch.autograd.grad(ours, parameters, allow_unused=True)
    wanted = torch.autograd.grad(theirs, parameters, allow_unused=True)
    pairs = [(a, b) for a, b in zip(found, wanted, strict=True) if b is not None]
    assert pairs
    for a, b in pairs:
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("family", "value", "message"),
    [
        ("qwen2", 0.1, "models of type 'qwen2' do not give the logits of a router"),
        ("granitemoe", 0.1, "models of type 'granitemoe' do not give the logits of a router"),
        ("qwen2", "config", "has no router_aux_loss_coef: give a number"),
    ],
)
def test_a_model_without_a_router_is_one_line(make_model: MakeModel, family: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        load(make_model(family), for_training=True, router_aux_loss_coef=value)
    assert "\n" not in str(error.value)


NOISE: dict[str, dict[str, Any]] = {
    "qwen2": {"attention_dropout": 0.25},
    "gpt2": {"attn_pdrop": 0.2, "resid_pdrop": 0.3, "embd_pdrop": 0.4},
    "opt": {"dropout": 0.1, "layerdrop": 0.2},
    "mixtral": {"router_jitter_noise": 0.2, "attention_dropout": 0.1},
    "phimoe": {"router_jitter_noise": 0.1, "input_jitter_noise": 0.3},
}


@pytest.mark.parametrize("family", NOISE)
def test_saved_configs_keep_dropout_and_jitter(make_model: MakeModel, tmp_path: Path, family: str) -> None:
    lm = load(make_model(family, **NOISE[family]), for_training=True)
    lm.save(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert {key: saved[key] for key in NOISE[family]} == NOISE[family]
    assert {key: getattr(lm.original_config(), key) for key in NOISE[family]} == NOISE[family]
    again = load(tmp_path / "saved", for_training=True)
    again.model.train(family != "phimoe")
    assert torch.equal(logits(again.model), logits(lm.model))
