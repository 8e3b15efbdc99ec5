"""The router's load-balancing loss in updates, and attention kernels by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from ngrpo.config import ModelSettings
from ngrpo.errors import ConfigError
from ngrpo.losses import load_balancing_loss
from ngrpo.models import LanguageModel, load_language_model
from ngrpo.training.batch import TokenRow, TrainingRow, micro_batches
from ngrpo.training.optimizer import update_metrics

SHAPE = {
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 8,
    "eos_token_id": 2,
}


@pytest.fixture(scope="module")
def mixture(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING["qwen3_moe"](**SHAPE))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0.0, 0.3)
    folder = tmp_path_factory.mktemp("mixture")
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tiny_model_folder / name).read_bytes())
    return folder


def loaded(folder: Path, **settings: Any) -> LanguageModel:
    return load_language_model(
        ModelSettings.parse({"path": str(folder), "device": "cpu", **settings}), for_training=True
    )


def rows_of(count: int = 12) -> list[TrainingRow]:
    rng = np.random.default_rng(0)
    prompts = [rng.integers(3, 300, size=5) for _ in range(3)]
    rows = []
    for i in range(count):
        completion = rng.integers(3, 300, size=int(rng.integers(2, 9)))
        values = np.full(len(completion), -5.0, dtype=np.float32)
        rows.append(TrainingRow(prompts[i % 3], completion, values, np.full_like(values, i % 2 - 0.5)))
    return rows


def balance(updater: Any) -> float:
    """The mean of the loss in one update, before its step."""
    return float(update_metrics(updater.take_updates([rows_of()], step=1))["update/router_aux_loss"])


@pytest.mark.parametrize("settings", [{}, {"attention": "eager"}, {"gradient_checkpointing": True}])
def test_the_loss_is_that_of_the_tokens_and_falls_when_it_is_trained(
    mixture: Path, make_updater: Any, settings: dict[str, Any]
) -> None:
    """Packed, padded, and with activations that are computed twice: the same number, which training lowers."""
    policy = loaded(mixture, router_aux_loss_coef=50.0, **settings)
    assert policy.packs == ("attention" not in settings)
    updater = make_updater({"name": "ngrpo"}, lm=policy, lr=3e-3, max_grad_norm=100.0)
    first = balance(updater)
    for step in range(2, 12):
        updater.take_updates([rows_of()], step=step)
    assert balance(updater) < first - 0.01
    if settings.get("attention"):
        expected = balance_of_single_rows(policy)
        assert balance(updater) == pytest.approx(expected, abs=1e-4)


def balance_of_single_rows(policy: LanguageModel) -> float:
    """The mean over the tokens of padded micro-batches, each row read alone, so without any padding."""
    total = tokens = 0.0
    for batch in micro_batches(rows_of(), token_budget=8192, device=policy.device):
        with torch.no_grad():
            layers = [policy.routed_hidden_states(torch.from_numpy(_ids(row))[None])[1] for row in batch.rows]
        total += len(batch.tokens) * float(load_balancing_loss(torch.cat([x for row in layers for x in row]), 2))
        tokens += len(batch.tokens)
    return total / tokens


def _ids(row: TokenRow) -> np.ndarray[Any, Any]:
    return np.concatenate([row.prompt, row.completion[:-1]])


def test_without_the_setting_nothing_changes(mixture: Path, make_updater: Any) -> None:
    updater = make_updater({"name": "ngrpo"}, lm=loaded(mixture))
    metrics = update_metrics(updater.take_updates([rows_of()], step=1))
    assert "update/router_aux_loss" not in metrics


def test_attention_kernels_by_name_give_the_same_logprobs(tiny_model_folder: Path, make_updater: Any) -> None:
    rows = rows_of()
    found = {}
    for name in ("", "sdpa", "eager"):
        updater = make_updater({"name": "ngrpo"}, lm=loaded(tiny_model_folder, attention=name))
        assert updater.policy.packs == (name != "eager")
        assert updater.policy.plain.config._attn_implementation == (name or "sdpa")
        found[name] = np.concatenate(updater.logprobs(rows))
    np.testing.assert_array_equal(found[""], found["sdpa"])
    np.testing.assert_allclose(found["eager"], found["sdpa"], atol=1e-4)


@pytest.mark.parametrize("name", ["flash_attention_2", "flash_attention_3"])
def test_a_kernel_that_is_not_installed_is_one_line(tiny_model_folder: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^\[model\] attention '{name}' needs the package flash_attn") as error:
        loaded(tiny_model_folder, attention=name)
    assert "\n" not in str(error.value)


def test_an_8_bit_optimiser_that_is_not_installed_is_one_line(
    countdown_model: Any, make_updater: Any, small_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ngrpo.errors import MissingDependencyError
    from ngrpo.runs.checks import check_before_loading

    monkeypatch.setattr("ngrpo.runs.checks.find_spec", lambda _name: None)
    monkeypatch.setattr("ngrpo.training.optimizer.find_spec", lambda _name: None)
    for use in (
        lambda: check_before_loading(small_config("optimizer.name=adamw_8bit")),
        lambda: make_updater({"name": "ngrpo"}, lm=countdown_model, name="adamw_8bit"),
    ):
        with pytest.raises(MissingDependencyError, match=r"'adamw_8bit' needs .*'bitsandbytes': pip install 'ngrpo\["):
            use()
