from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ngrpo.config import ModelSettings
from ngrpo.errors import CheckpointError, ConfigError
from ngrpo.training.batch import TrainingRow
from ngrpo.training.checkpoint import load_optimizer, load_policy, load_state, save_policy, save_state
from ngrpo.training.metrics import TrainerState

STATE = TrainerState(step=3, cursor=41, rollouts_sampled=120, rollouts_trained=96, updates=12, empty_steps=1)


def settings(**table: Any) -> ModelSettings:
    return ModelSettings.parse({"path": "builtin:countdown-base", "dtype": "float32", "device": "cpu", **table})


@pytest.fixture
def saved(tmp_path: Path, make_updater: Any, random_rows: list[TrainingRow]) -> tuple[Path, Any]:
    updater = make_updater({"name": "ngrpo"}, lr=1e-3)
    updater.take_updates([random_rows] * 2, step=1)
    folder = tmp_path / "step_000003"
    folder.mkdir()
    save_policy(folder, updater)
    save_state(folder, STATE)
    return folder, updater


@pytest.fixture
def saved_adapter(
    tmp_path: Path, make_updater: Any, load_base: Any, random_rows: list[TrainingRow]
) -> tuple[Path, Any]:
    updater = make_updater({"name": "ngrpo"}, lm=load_base(lora={"rank": 4}), lr=1e-2)
    updater.take_updates([random_rows] * 2, step=1)
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_policy(folder, updater)
    save_state(folder, STATE)
    return folder, updater


def same_tensors(a: Any, b: Any) -> None:
    for (name, left), (other, right) in zip(a.parameters.items(), b.parameters.items(), strict=True):
        assert name == other
        assert torch.equal(left, right)
        for key in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(a.optimizer.state[left][key], b.optimizer.state[right][key])


@pytest.mark.parametrize("kind", ["saved", "saved_adapter"])
def test_a_checkpoint_gives_back_weights_moments_and_state_to_the_bit(
    kind: str, request: pytest.FixtureRequest, make_updater: Any, random_rows: list[TrainingRow]
) -> None:
    folder, updater = request.getfixturevalue(kind)
    table = {"lora": {"rank": 4}} if kind == "saved_adapter" else {}
    again = make_updater({"name": "ngrpo"}, lm=load_policy(settings(**table), folder), lr=1e-3)
    load_optimizer(folder, again)
    same_tensors(updater, again)
    assert load_state(folder) == STATE
    for one in (updater, again):
        for group in one.optimizer.param_groups:
            group["lr"] = 1e-3
        one.take_updates([random_rows], step=2)
    if kind == "saved":
        same_tensors(updater, again)


def test_a_checkpoint_is_an_ordinary_model_folder(saved: tuple[Path, Any]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, updater = saved
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = AutoTokenizer.from_pretrained(folder)("2 7 9 12 = 23 :", return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.equal(model(ids).logits, updater.policy.model(ids).logits)


def test_an_adapter_checkpoint_loads_as_the_merged_model(saved_adapter: tuple[Path, Any]) -> None:
    from ngrpo.models import load_language_model

    folder, updater = saved_adapter
    assert not (folder / "model.safetensors").exists()
    merged = load_language_model(settings(path=str(folder)), for_training=False)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        torch.testing.assert_close(merged.model(ids).logits, updater.policy.model(ids).logits, atol=1e-4, rtol=1e-4)


def test_a_checkpoint_before_any_update_has_no_moments(tmp_path: Path, make_updater: Any) -> None:
    updater = make_updater({"name": "ngrpo"})
    save_policy(tmp_path, updater)
    load_optimizer(tmp_path, make_updater({"name": "ngrpo"}))


def one_line(error: pytest.ExceptionInfo[Exception], *names: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    for name in names:
        assert name in text


def load_all(folder: Path, updater: Any) -> None:
    load_state(folder)
    load_policy(settings(), folder)
    load_optimizer(folder, updater)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "trainer_state.json", "config.json"])
@pytest.mark.parametrize("damage", ["missing", "torn", "empty"])
def test_a_missing_or_torn_file_is_one_line(saved: tuple[Path, Any], name: str, damage: str) -> None:
    folder, updater = saved
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[: len(content) // 2] if damage == "torn" else b"")
    with pytest.raises(CheckpointError) as error:
        load_all(folder, updater)
    one_line(error, str(folder))


@pytest.mark.parametrize("damage", ["missing", "torn", "other rank"])
def test_a_damaged_adapter_is_one_line(saved_adapter: tuple[Path, Any], damage: str) -> None:
    folder, _ = saved_adapter
    path = folder / "adapter_model.safetensors"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "torn":
        path.write_bytes(content[:100])
    with pytest.raises(CheckpointError) as error:
        load_policy(settings(lora={"rank": 8 if damage == "other rank" else 4}), folder)
    one_line(error, "adapter_model.safetensors")


def test_moments_of_another_model_are_refused(
    saved: tuple[Path, Any], saved_adapter: tuple[Path, Any], make_updater: Any
) -> None:
    with pytest.raises(CheckpointError, match="does not fit the model") as error:
        load_optimizer(saved_adapter[0], make_updater({"name": "ngrpo"}))
    one_line(error)


def test_moments_that_lack_a_parameter_are_refused(saved: tuple[Path, Any], make_updater: Any) -> None:
    from safetensors.torch import load_file, save_file

    folder, _ = saved
    moments = load_file(folder / "optimizer.safetensors")
    name = next(key for key in moments if key.endswith("/exp_avg"))
    del moments[name]
    save_file(moments, folder / "optimizer.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks the moments of '.*'"):
        load_optimizer(folder, make_updater({"name": "ngrpo"}))


@pytest.mark.parametrize("content", ['{"step": 3}', "[]", "3", '{"step": "x"}', "{", "[" * 100_000])
def test_a_state_without_its_numbers_is_refused(saved: tuple[Path, Any], content: str) -> None:
    folder, _ = saved
    (folder / "trainer_state.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"trainer_state\.json cannot be used") as error:
        load_state(folder)
    one_line(error)


def test_a_state_of_another_version_says_what_it_lacks(saved: tuple[Path, Any]) -> None:
    folder, _ = saved
    state = json.loads((folder / "trainer_state.json").read_text())
    del state["tokens_sampled"]
    (folder / "trainer_state.json").write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match="it lacks 'tokens_sampled', which checkpoints of this version"):
        load_state(folder)


def test_state_is_plain_json(saved: tuple[Path, Any]) -> None:
    assert json.loads((saved[0] / "trainer_state.json").read_text())["cursor"] == 41


def test_the_starting_model_that_is_missing_is_a_matter_of_the_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_policy(settings(path=str(tmp_path / "nothing")), None)
