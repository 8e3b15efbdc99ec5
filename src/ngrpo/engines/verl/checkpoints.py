"""verl's checkpoints as ours: `checkpoints/step_N` is a model folder that every later command reads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ngrpo.engines.verl.verl_files import VerlFiles
from ngrpo.models.paths import resolve_model_path

if TYPE_CHECKING:
    from torch import Tensor

    from ngrpo.config import Config
    from ngrpo.runs.run_dir import RunDir

_TOKENIZER = ("tokenizer*", "special_tokens_map.json", "vocab.*", "merges.txt", "*.jinja")


def take_checkpoints(config: Config, run: RunDir) -> None:
    """Brings verl's whole checkpoints, those up to the one that it notes as its newest, into the run folder.

    A model is linked, not copied: it can have tens of gigabytes, and verl needs its own folder to resume. Of a run with
    adapters verl writes a model that only peft's classes can read: from it, an adapter folder is made.
    """
    files = VerlFiles(run.path)
    last = files.newest_step
    for folder in sorted(files.checkpoints.glob("global_step_*")):
        step = int(folder.name.rpartition("_")[2])
        link, model = run.checkpoint_path(step), files.model(step)
        if step > last or not model.is_dir() or link.exists():
            continue
        link.parent.mkdir(exist_ok=True)
        if config.model.lora is None:
            link.symlink_to(os.path.relpath(model, link.parent), target_is_directory=True)
        else:
            with run.new_checkpoint(step) as adapter:
                _write_adapter(config, model, adapter)


def _write_adapter(config: Config, model: Path, folder: Path) -> None:
    """Writes what peft's `save_pretrained` would write of the adapters in a model folder of verl."""
    from peft import LoraConfig
    from safetensors.torch import save_file

    lora = config.model.lora
    assert lora is not None  # noqa: S101  (told to mypy)
    tensors = dict(_adapter_tensors(model))
    layers = {name.split(".lora_")[0].rpartition(".")[2] for name in tensors}
    LoraConfig(
        r=lora.rank,
        lora_alpha=int(lora.alpha),
        target_modules=sorted(layers),
        task_type="CAUSAL_LM",
        base_model_name_or_path=resolve_model_path(config.model.path),
    ).save_pretrained(folder)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    for pattern in _TOKENIZER:
        for path in model.glob(pattern):
            shutil.copy(path, folder)


def _adapter_tensors(model: Path) -> Iterator[tuple[str, Tensor]]:
    from safetensors import safe_open

    for path in sorted(model.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  (no mapping)
                if ".lora_" in name:
                    yield name.replace(".default.", "."), file.get_tensor(name)
