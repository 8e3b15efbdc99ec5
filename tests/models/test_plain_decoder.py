from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear, silu
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from ngrpo.models.plain_decoder import PlainDecoder, fused_rms_norm, gated_down

from .conftest import DENSE

EPSILON = 1e-5
SHAPE = {**DENSE, "vocab_size": 40, "head_dim": 8, "max_position_embeddings": 64}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 100.0}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
    "rope_theta": 100.0,
}
READ: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", SHAPE),
    "llama of old": ("llama", {**SHAPE, "attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4}),
    "llama 3": ("llama", {**SHAPE, "rope_parameters": LLAMA3}),
    "yarn": ("llama", {**SHAPE, "rope_parameters": YARN}),
    "linear": ("llama", {**SHAPE, "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0}}),
    "mistral": ("mistral", {**SHAPE, "sliding_window": None}),
    "qwen2": ("qwen2", {**SHAPE, "sliding_window": 4, "use_sliding_window": False}),
    "qwen3": ("qwen3", SHAPE),
}
LEFT: dict[str, tuple[str, dict[str, Any]]] = {
    "mistral's window": ("mistral", {**SHAPE, "sliding_window": 4}),
    "qwen2's window": (
        "qwen2",
        {**SHAPE, "sliding_window": 4, "use_sliding_window": True, "max_window_layers": 1},
    ),
    "dynamic": ("llama", {**SHAPE, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 100.0}}),
    "granite": ("granite", SHAPE),
    "gemma2": ("gemma2", SHAPE),
    "gpt2": ("gpt2", {"vocab_size": 40, "n_embd": 16, "n_layer": 2, "n_head": 4}),
    "mixtral": ("mixtral", {**SHAPE, "num_local_experts": 4}),
}


def random_decoder(family: str, shape: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**shape)).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.2, 0.4)  # norms that are not all 1, biases that are not 0
    return model.get_decoder()


class OneRowAfterAnother:
    """Attention with everything kept, one row at a time."""

    def __init__(self, scaling: float) -> None:
        self.scaling, self.kept = scaling, {}

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        keys, values = self.kept.setdefault(layer, ([], []))
        keys.append(key)
        values.append(value)
        k, v = torch.stack(keys, dim=1), torch.stack(values, dim=1)  # [B, T, H', d]
        k, v = (x.repeat_interleave(query.shape[1] // key.shape[1], dim=2) for x in (k, v))
        weights = (torch.einsum("bhd,bthd->bht", query, k) * self.scaling).softmax(dim=-1)
        return torch.einsum("bht,bthd->bhd", weights, v).flatten(1)


@pytest.mark.parametrize("name", READ)
@torch.no_grad()
def test_single_steps_give_the_hidden_states_of_a_full_pass(name: str) -> None:
    decoder = random_decoder(*READ[name])
    plain = PlainDecoder.of(decoder)
    assert plain is not None
    ids = torch.randint(0, 40, (3, 30), generator=torch.Generator().manual_seed(1))
    attend = OneRowAfterAnother(plain.scaling)
    steps = [plain.hidden_states(ids[:, t], torch.full((3,), t), t, attend) for t in range(30)]
    wanted = decoder(input_ids=ids, use_cache=False).last_hidden_state
    assert torch.allclose(torch.stack(steps, dim=1), wanted, atol=1e-5 * float(wanted.abs().mean()), rtol=1e-4)


@torch.no_grad()
def test_positions_beyond_the_first_table() -> None:
    decoder = random_decoder(*READ["llama"])
    plain = PlainDecoder.of(decoder)
    assert plain is not None
    ids, positions = torch.tensor([5, 6]), torch.tensor([3, 5000])
    alone = plain.hidden_states(ids, positions, 5000, OneRowAfterAnother(plain.scaling))
    for row in range(2):
        one, place = ids[row, None, None], positions[row, None, None]
        wanted = decoder(input_ids=one, position_ids=place, use_cache=False).last_hidden_state[0, 0]
        assert torch.allclose(alone[row], wanted, atol=1e-4)


@pytest.mark.parametrize("name", LEFT)
def test_other_decoders_are_left_to_their_own_pass(name: str) -> None:
    assert PlainDecoder.of(random_decoder(*LEFT[name])) is None


def test_a_layer_that_someone_changed_is_left_to_its_own_pass() -> None:
    class Halved(Qwen2DecoderLayer):
        def forward(self, *args: Any, **options: Any) -> Any:
            return super().forward(*args, **options) / 2

    decoder = random_decoder(*READ["qwen2"])
    decoder.layers[1].__class__ = Halved
    assert PlainDecoder.of(decoder) is None


def plain_norm(x: Tensor, weight: Tensor) -> Tensor:
    return weight * x / torch.sqrt((x * x).mean(dim=-1, keepdim=True) + EPSILON)


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@pytest.mark.parametrize("shape", [(1, 4), (7, 6), (5, 3, 8), (1100, 4)])
def test_norm_and_its_gradient(shape: tuple[int, ...]) -> None:
    x, weight = random(*shape, seed=0), random(shape[-1], seed=1)
    ours, theirs = fused_rms_norm(x, weight, EPSILON), plain_norm(x, weight)
    assert torch.allclose(ours, theirs)
    upstream = random(*shape, seed=2).detach()
    for a, b in zip(*(torch.autograd.grad(y, (x, weight), upstream) for y in (ours, theirs)), strict=True):
        assert torch.allclose(a, b)


@pytest.mark.parametrize("rows", [1, 9, 513, 1100])
@pytest.mark.parametrize("with_bias", [False, True])
def test_gated_product_and_its_gradient(rows: int, with_bias: bool) -> None:
    gate, up, weight = random(rows, 6, seed=0), random(rows, 6, seed=1), random(4, 6, seed=2)
    bias = random(4, seed=3) if with_bias else None
    ours, theirs = gated_down(gate, up, weight, bias), linear(silu(gate) * up, weight, bias)
    assert torch.allclose(ours, theirs)
    upstream = random(rows, 4, seed=4).detach()
    inputs = [x for x in (gate, up, weight, bias) if x is not None]
    for a, b in zip(*(torch.autograd.grad(y, inputs, upstream) for y in (ours, theirs)), strict=True):
        assert torch.allclose(a, b)


def test_frozen_weights_get_no_gradient() -> None:
    gate, up, weight = random(3, 6, seed=0), random(3, 6, seed=1), random(4, 6, seed=2).detach()
    gated_down(gate, up, weight, None).sum().backward()
    assert gate.grad is not None
    assert weight.grad is None
    x, scale = random(3, 6, seed=0), random(6, seed=1).detach()
    fused_rms_norm(x, scale, EPSILON).sum().backward()
    assert x.grad is not None
    assert scale.grad is None


def test_gradients_pass_the_numerical_check() -> None:
    assert torch.autograd.gradcheck(
        lambda x, w: fused_rms_norm(x, w, EPSILON), (random(3, 4, seed=0), random(4, seed=1))
    )
    arguments = random(3, 5, seed=0), random(3, 5, seed=1), random(2, 5, seed=2), random(2, seed=3)
    assert torch.autograd.gradcheck(gated_down, arguments)
