"""Checkpoints: an ordinary Hugging Face model folder, plus what a resumed run needs to go on exactly.

    step_000050/
      config.json, model.safetensors, tokenizer files   (or an adapter, with [model.lora])
      optimizer.safetensors     AdamW's moments, "PARAMETER/exp_avg" and so on
      trainer_state.json        step, place in the problem order, totals
      manifest.json             size and SHA-256 of every file (`ngrpo.runs.manifest`)
      critic/                   PPO's value model: model.safetensors (what of it is trained) and its moments; without
                                [model.lora] and a shared trunk a Hugging Face folder for token classification

Safetensors and JSON only: reading a checkpoint cannot run code. No random state is kept (`ngrpo.sampling.streams`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ngrpo.config import ModelSettings
from ngrpo.errors import CheckpointError, ConfigError, error_line, short_line
from ngrpo.models import LanguageModel, load_language_model
from ngrpo.storage import write_json
from ngrpo.training.critic import CriticUpdater
from ngrpo.training.metrics import TrainerState
from ngrpo.training.optimizer import Updater
from ngrpo.training.update import PolicyUpdater

_STATE, _OPTIMIZER = "trainer_state.json", "optimizer.safetensors"
_WEIGHTS, _ADAPTER = "model.safetensors", "adapter_model.safetensors"
_MOMENTS, _MOMENTS_8BIT = {"step", "exp_avg", "exp_avg_sq"}, {"step", "state1", "state2"}
_OF_THE_PARAMETERS_SHAPE = {"exp_avg", "exp_avg_sq", "state1", "state2"}
"""The other values are step counters and, of 8-bit moments, the scales of blocks and their code."""


def save_policy(folder: Path, updater: PolicyUpdater) -> None:
    """Writes the policy and its optimiser into an empty folder.

    Raises:
        CheckpointError: when a weight or a moment is not finite.
    """
    _check_finite(updater, "not saved")
    updater.policy.save(folder)
    _save_optimizer(folder, updater)


def save_critic(folder: Path, updater: CriticUpdater) -> None:
    """Writes the critic and its optimiser into a new folder.

    Raises:
        CheckpointError: when a weight or a moment is not finite.
    """
    _check_finite(updater, "not saved")
    folder.mkdir()
    critic = updater.critic
    if not critic.shared and critic.trunk.model is critic.trunk.plain:
        config = critic.trunk.original_config()
        config.architectures = [type(critic.trunk.plain).__name__.replace("ForCausalLM", "ForTokenClassification")]
        config.num_labels = 1
        config.save_pretrained(folder)
    weights = {name: parameter.detach().contiguous() for name, parameter in updater.parameters.items()}
    save_file(weights, folder / _WEIGHTS, metadata={"format": "pt"})
    _save_optimizer(folder, updater)


def save_state(folder: Path, state: TrainerState) -> None:
    """Writes the trainer state into a checkpoint's folder."""
    write_json(folder / _STATE, asdict(state))


def load_policy(settings: ModelSettings, folder: Path | None) -> LanguageModel:
    """Returns the policy of a run: the starting model, or a checkpoint's weights.

    Args:
        settings: the [model] table of the run.
        folder: the checkpoint, or None at the start of a run.

    Raises:
        ConfigError: when the starting model cannot be loaded.
        CheckpointError: when the checkpoint is incomplete, torn or of another model.
    """
    if folder is None:
        return load_language_model(settings, for_training=True)
    if settings.lora is not None:
        policy = load_language_model(settings, for_training=True)
        _load_adapter(folder / _ADAPTER, policy)
        return policy
    try:
        return load_language_model(settings.model_copy(update={"path": str(folder), "revision": ""}), for_training=True)
    except (ConfigError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint {folder} cannot be loaded: {error_line(error)}") from None


def load_critic(folder: Path, updater: CriticUpdater) -> None:
    """Gives the critic and its optimiser what was saved.

    Raises:
        CheckpointError: when a file is missing or torn or is that of another critic.
    """
    saved = _tensors(folder / _WEIGHTS)
    if {n: t.shape for n, t in saved.items()} != {n: p.shape for n, p in updater.parameters.items()}:
        raise CheckpointError(f"{folder / _WEIGHTS}: does not fit the critic of this run")
    with torch.no_grad():
        for name, parameter in updater.parameters.items():
            parameter.copy_(saved[name])
    load_optimizer(folder, updater)


def load_optimizer(folder: Path, updater: Updater) -> None:
    """Gives the optimiser the moments of a checkpoint.

    Raises:
        CheckpointError: when the file is missing or torn or does not fit the policy.
    """
    state: dict[Any, dict[str, Any]] = {}
    for name, tensor in _tensors(folder / _OPTIMIZER).items():
        parameter_name, _, key = name.rpartition("/")
        parameter = updater.parameters.get(parameter_name)
        if parameter is None or (key in _OF_THE_PARAMETERS_SHAPE and tensor.shape != parameter.shape):
            raise CheckpointError(f"{folder}: the optimiser's '{name}' does not fit the model of this run")
        state.setdefault(parameter, {})[key] = _placed(updater, parameter, key, tensor)
    moments = _MOMENTS_8BIT if updater.settings.name == "adamw_8bit" else _MOMENTS
    for name, parameter in updater.parameters.items():
        if state and not moments <= state.get(parameter, {}).keys():
            raise CheckpointError(f"{folder}: {_OPTIMIZER} lacks the moments of '{name}'")
    updater.optimizer.state.update(state)
    _check_finite(updater, f"checkpoint {folder} cannot be used; remove it to continue from an older one")


def _placed(updater: Updater, parameter: nn.Parameter, key: str, tensor: torch.Tensor) -> torch.Tensor | int:
    """Returns a value of an optimiser's state where and as the optimiser has it."""
    if key == "step" and updater.settings.name == "adamw_8bit":
        return int(tensor)
    # A fused AdamW has its step counters where the parameters are, any other on the CPU.
    stays = key == "step" and not updater.optimizer.defaults["fused"]
    return tensor if stays else tensor.to(parameter.device)


def load_state(folder: Path) -> TrainerState:
    """Returns the trainer state of a checkpoint.

    Raises:
        CheckpointError: when it cannot be read.
    """
    try:
        values = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        names = [field.name for field in fields(TrainerState)]
        if missing := [name for name in names if name not in values]:
            raise ValueError(f"it lacks '{missing[0]}', which checkpoints of this version of ngrpo have")
        numbers = {name: values[name] for name in names}
        if not all(type(number) is int and number >= 0 for number in numbers.values()):
            raise ValueError("its values must be integers of at least 0")
        return TrainerState(**numbers)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{folder}: {_STATE} cannot be used: {short_line(str(error))}") from None


def _check_finite(updater: Updater, consequence: str) -> None:
    for name, parameter in updater.parameters.items():
        tensors = {"weights": parameter} | updater.optimizer.state.get(parameter, {})
        for key, tensor in tensors.items():
            if not torch.isfinite(torch.as_tensor(tensor)).all():
                raise CheckpointError(f"'{name}' has NaN or infinite values ({key}): {consequence}")


def _save_optimizer(folder: Path, updater: Updater) -> None:
    moments = {
        # The 8-bit moments of all parameters share their code, and a file may not hold a tensor twice.
        f"{name}/{key}": value.clone() if key.startswith("qmap") else torch.as_tensor(value).contiguous()
        for name, parameter in updater.parameters.items()
        for key, value in updater.optimizer.state[parameter].items()
    }
    save_file(moments, folder / _OPTIMIZER)


def _load_adapter(path: Path, policy: LanguageModel) -> None:
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    # Without the base model's embeddings, as `LanguageModel.save` writes it.
    saved, wanted = _tensors(path), get_peft_model_state_dict(policy.model, save_embedding_layers=False)
    if {name: tensor.shape for name, tensor in saved.items()} != {name: t.shape for name, t in wanted.items()}:
        raise CheckpointError(f"{path}: the adapter does not fit [model] path and [model.lora] of this run")
    set_peft_model_state_dict(policy.model, saved)


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error_line(error)}") from None
