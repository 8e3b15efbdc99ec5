from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ngrpo.models import prepacked as module_under_test
from ngrpo.models.prepacked import packable_layers

AVX = torch.backends.cpu.get_cpu_capability().startswith("AVX")
pytestmark = pytest.mark.skipif(not AVX, reason="this processor has no packed kernels")
ROWS = 5


class Wrapped(nn.Linear):
    """A layer that does more than a linear one."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1.0


def layers() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "head": nn.Linear(256, 1024, bias=False),
            "biased": nn.Linear(256, 512),
            "small": nn.Linear(256, 16),
            "wrapped": Wrapped(256, 512),
        }
    )


def prepacked(model: nn.Module, dtype: torch.dtype) -> AbstractContextManager[None]:
    return module_under_test.prepacked(packable_layers(model, dtype), dtype)


def packed(model: nn.ModuleDict) -> set[str]:
    return {name for name, layer in model.items() if "forward" in vars(layer)}


@torch.no_grad()
def test_results_are_the_layers_and_the_layers_are_restored() -> None:
    model, x = layers(), torch.randn(ROWS, 256)
    wanted = {name: layer(x) for name, layer in model.items()}
    with prepacked(model, torch.float32):
        assert packed(model) == {"head", "biased"}
        for name, layer in model.items():
            torch.testing.assert_close(layer(x), wanted[name], rtol=1e-5, atol=1e-5)
    assert packed(model) == set()
    assert all(torch.equal(layer(x), wanted[name]) for name, layer in model.items())


@torch.no_grad()
def test_results_in_bfloat16_are_those_of_autocast() -> None:
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no products in bfloat16")
    model, x = layers(), torch.randn(2, 3, 256)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        wanted = {name: layer(x) for name, layer in model.items()}
        with prepacked(model, torch.bfloat16):
            assert packed(model) == {"head", "biased"}
            for name, layer in model.items():
                out = layer(x)
                assert out.dtype == torch.bfloat16
                assert out.shape == wanted[name].shape
                torch.testing.assert_close(out, wanted[name], rtol=1e-2, atol=1e-2)


@torch.no_grad()
def test_a_row_does_not_depend_on_the_others() -> None:
    model, x = layers(), torch.randn(64, 256)
    with prepacked(model, torch.float32):
        together = model["head"](x)
        for rows in (1, 2, 7, 33):
            torch.testing.assert_close(model["head"](x[:rows]), together[:rows], rtol=0, atol=1e-6)


def test_a_weight_of_another_kind_is_left() -> None:
    class Quantised(Tensor):
        pass

    model = layers()
    model["head"].weight = nn.Parameter(torch.randn(1024, 256).as_subclass(Quantised))
    assert [layer.out_features for layer in packable_layers(model, torch.float32)] == [512]


@torch.no_grad()
def test_hooks_are_called_and_count() -> None:
    model, x = layers(), torch.randn(ROWS, 256)
    seen: list[int] = []

    def double(_: Any, inputs: tuple[Tensor], out: Tensor) -> Tensor:
        seen.append(len(inputs[0]))
        return out * 2.0

    model["head"].register_forward_hook(double)
    wanted = model["head"](x)
    with prepacked(model, torch.float32):
        torch.testing.assert_close(model["head"](x), wanted, rtol=1e-5, atol=1e-5)
    assert seen == [ROWS, ROWS]


def test_layers_are_restored_after_an_error() -> None:
    model = layers()
    with pytest.raises(ZeroDivisionError), prepacked(model, torch.float32):
        raise ZeroDivisionError
    assert packed(model) == set()


def test_a_forward_of_somebody_elses_stays() -> None:
    model = layers()
    own = model["head"].forward = lambda x: x  # type: ignore[method-assign]
    with prepacked(model, torch.float32):
        assert vars(model["head"])["forward"] is own
    assert vars(model["head"])["forward"] is own


def test_copies_stay_below_a_limit_with_the_largest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    model = layers()
    monkeypatch.setattr(module_under_test, "_MOST_BYTES", 4 * 256 * 1024 + 1000)
    with prepacked(model, torch.float32):
        assert packed(model) == {"head"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_precisions_are_left(dtype: torch.dtype) -> None:
    model = layers()
    with prepacked(model, dtype):
        assert packed(model) == set()
