"""Packs against the rows that they stand for: hidden states, logits and gradients, for every family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ngrpo.models import LanguageModel
from ngrpo.training.batch import TokenRow, pack, pad

from .conftest import SHAPES, load

CPU = torch.device("cpu")
PACKED = set(SHAPES) - {"gemma2", "gpt_oss"}
MAKES = [pack, pad]


def rows() -> list[TokenRow]:
    """Prompts of 1, 9 and 12 tokens with completions of 1 to 14; two groups have the same prompt."""
    rng = np.random.default_rng(0)
    prompts = [rng.integers(2, 60, size=length) for length in (9, 1, 12)]
    lengths = [[3, 1, 14, 2], [5, 5, 5], [1, 1], [7]]
    groups = zip([*prompts, prompts[0].copy()], lengths, strict=True)
    return [TokenRow(prompt, rng.integers(2, 60, size=n)) for prompt, few in groups for n in few]


def read(lm: LanguageModel, make: Any) -> tuple[dict[int, Tensor], list[Tensor]]:
    """Logits of each row's tokens by id, and the gradients of the sum of their squares."""
    batch = make(rows_once, CPU)
    with lm.packed_attention(batch.packing is not None):
        logits = lm.head(batch.predicting(lm.hidden_states(batch.input_ids, batch.packing)))
        parameters = [parameter for _, parameter in lm.trained_parameters()]
        gradients = torch.autograd.grad(logits.square().mean(), parameters, allow_unused=True, materialize_grads=True)
    parts = torch.split(logits.detach(), [len(row.completion) for row in batch.rows])
    return {id(row): part for row, part in zip(batch.rows, parts, strict=True)}, list(gradients)


rows_once = rows()


@pytest.mark.parametrize("family", sorted(SHAPES))
def test_every_family_that_claims_packs_reads_them_as_rows(make_model: Callable[..., Path], family: str) -> None:
    lm = load(make_model(family), for_training=True)
    assert lm.packs == (family in PACKED)
    assert any("more than causal" in fact for fact in lm.facts) != lm.packs
    if not lm.packs:
        return
    (packed, of_packed), (padded, of_padded) = (read(lm, make) for make in MAKES)
    for row in rows_once:
        torch.testing.assert_close(packed[id(row)], padded[id(row)], rtol=1e-5, atol=1e-5)
    size = sum(float(gradient.square().sum()) for gradient in of_padded)
    error = sum(float((a - b).square().sum()) for a, b in zip(of_packed, of_padded, strict=True))
    assert error < 1e-8 * size
    assert lm.plain.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("setting", [{"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}])
def test_sliding_windows_are_read_as_rows(make_model: Callable[..., Path], setting: dict[str, Any]) -> None:
    assert not load(make_model("qwen2", **setting), for_training=True).packs


def test_checkpointed_activations_and_adapters_read_packs(make_model: Callable[..., Path]) -> None:
    folder = make_model("llama")
    plain, checkpointed = (
        read(load(folder, for_training=True, gradient_checkpointing=on), pack)[1] for on in (False, True)
    )
    for a, b in zip(plain, checkpointed, strict=True):
        torch.testing.assert_close(a, b)
    lm = load(folder, for_training=True, lora={"rank": 2})
    assert lm.packs
    for make in MAKES:
        assert read(lm, make)[1]


def test_packs_take_plain_steps_unless_a_hook_needs_the_models_own(
    make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = load(make_model("qwen2"), for_training=True)
    calls: list[int] = []
    decoder = lm.plain.get_decoder()
    forward = decoder.forward
    monkeypatch.setattr(decoder, "forward", lambda **given: calls.append(1) or forward(**given))
    plain, of_plain = read(lm, pack)
    assert not calls
    handle = decoder.layers[0].register_forward_hook(lambda *_: None)
    own, of_own = read(lm, pack)
    assert len(calls) == 1
    handle.remove()
    lm.checkpoint_activations()
    again, of_again = read(lm, pack)
    assert len(calls) == 1
    assert all(torch.equal(plain[row], again[row]) for row in plain)
    assert all(map(torch.equal, of_plain, of_again))
    for row in rows_once:
        torch.testing.assert_close(plain[id(row)], own[id(row)], rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(of_plain, of_own, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
