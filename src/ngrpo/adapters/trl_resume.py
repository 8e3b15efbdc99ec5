"""TRL's trainer with an exact resume: within a generation, and after the first epoch.

TRL keeps the completions of a generation in memory and uses them for several updates. Its own checkpoints do not hold
them: a run that resumes within a generation samples again, and all later updates differ. Nor do they hold the random
state of its order of prompts, which differs between epochs: a run that resumes in epoch 2 repeats the order of epoch 1.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ngrpo.adapters.trl_config import Missing, trl
from ngrpo.errors import CheckpointError
from ngrpo.storage import atomic_file

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)

GRPOTrainer: Any = trl.GRPOTrainer if trl else Missing


class ExactResumeTrainer(GRPOTrainer):  # type: ignore[misc]
    """GRPOTrainer that saves the generation in use with a checkpoint, one file per process, and restores it."""

    def checkpoint_folder(self, trial: Any) -> Path:
        """Returns the folder of a checkpoint of the present step."""
        return Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"

    def warn_once(self, about: str, text: str) -> None:
        """Logs the first warning about something, in the main process."""
        warned: set[str] = self.__dict__.setdefault("_warned", set())
        if self.accelerator.is_main_process and about not in warned:
            _log.warning("%s (shown once per run)", text)
        warned.add(about)

    def _facts(self) -> dict[str, Any]:
        """Returns what a saved generation depends on, all of which must be equal on resume."""
        args = self.args
        return {
            "processes": args.world_size,
            "per_device_train_batch_size": args.per_device_train_batch_size,
            "steps_per_generation": args.steps_per_generation,
            "num_iterations": self.num_iterations,
            "global_step": self.state.global_step,
        }

    def _updates_left(self, step: int) -> bool:
        """Returns true within a generation, after `step` micro-batches."""
        return bool(step % (self.args.steps_per_generation * self.num_iterations))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Saves the generation in use, then TRL's checkpoint: one that is complete has both."""
        path = generation_file(self.checkpoint_folder(trial), self.args.process_index)
        path.unlink(missing_ok=True)  # of an earlier run
        batches, resumable = self._buffered_inputs, not self.args.save_only_model
        if batches is not None and resumable and self._updates_left(self._step):
            try:
                save_generation(path, self._step, batches, self._facts())
            except TypeError as error:
                self.warn_once("save", f"{path} cannot be written, so a resume there samples again: {error}")
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
        """Restores optimizer and scheduler as TRL does, then the order of prompts and the generation in use.

        A collective call: every process must reach it.
        """
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        sampler = self.__dict__.get("_train_sampler", ())
        for _ in range(int(self.state.epoch or 0)):
            next(iter(sampler), None)  # each epoch shuffles once, from the sampler's own random state
        self._step, self._buffered_inputs = 0, None
        path = generation_file(checkpoint, self.args.process_index)
        problem, restored = f"{path} is missing", None
        try:
            if path.exists():
                restored = load_generation(path, self._facts(), self.accelerator.device)
        except CheckpointError as error:
            problem = str(error)
        if self._all_processes(restored is not None) and restored is not None:
            self._step, self._buffered_inputs = restored
        elif self._updates_left(self.state.global_step * self.args.gradient_accumulation_steps):
            self.warn_once("resume", f"resume within a generation: {problem}; its completions are sampled again")

    def _all_processes(self, mine: bool) -> bool:
        """Returns true when it is true in every process: one that samples alone would wait for the others for ever."""
        import torch

        return bool(self.accelerator.gather(torch.tensor([int(mine)], device=self.accelerator.device)).all())

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        """Returns TRL's sampler of prompts, and keeps it for a resume."""
        self._train_sampler = super()._get_train_sampler(dataset)
        return self._train_sampler


def generation_file(checkpoint: str | Path, process: int) -> Path:
    """Returns the file in a checkpoint that holds the generation of one process.

    Examples:
        >>> generation_file("run/checkpoint-3", 0).name
        'ngrpo_generation_0.safetensors'
    """
    return Path(checkpoint) / f"ngrpo_generation_{process}.safetensors"


def save_generation(path: Path, step: int, batches: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    """Writes the micro-batches of a generation, all at once: a reader finds the whole file or none.

    Args:
        path: safetensors file; its folder is made where it does not exist.
        step: micro-batches that this process has trained on so far.
        batches: micro-batches by name: tensors of any shape and dtype, or values that JSON has.
        facts: what must be equal on resume, as JSON values.

    Raises:
        TypeError: for a value that is neither a tensor nor JSON, before anything is written.
    """
    import torch
    from safetensors.torch import save

    tensors: dict[str, torch.Tensor] = {}
    others: list[dict[str, Any]] = []
    for number, batch in enumerate(batches):
        others.append({name: value for name, value in batch.items() if not isinstance(value, torch.Tensor)})
        for name, value in batch.items():
            if isinstance(value, torch.Tensor):
                # Cloned, for micro-batches may be views of one tensor, which safetensors refuses.
                tensors[f"{number}.{name}"] = value.detach().cpu().contiguous().clone()
    header = {"step": str(step), "facts": json.dumps(facts), "others": json.dumps(others)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(save(tensors, metadata=header))


def load_generation(path: Path, facts: dict[str, Any], device: Any) -> tuple[int, list[dict[str, Any]]]:
    """Returns the step and the micro-batches that `save_generation` wrote.

    Args:
        path: safetensors file.
        facts: what must equal the facts that were saved.
        device: where the tensors go.

    Raises:
        CheckpointError: when the file cannot be read, or a fact differs.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as opened:
            header = opened.metadata()
            step, saved, batches = int(header["step"]), json.loads(header["facts"]), json.loads(header["others"])
            for key in opened.keys():  # noqa: SIM118 - safe_open is no mapping
                number, name = key.split(".", 1)
                batches[int(number)][name] = opened.get_tensor(key).to(device)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    for name, value in facts.items():
        if saved.get(name) != value:
            raise CheckpointError(f"{path} was saved with {name} = {saved.get(name)!r}, now it is {value!r}")
    return step, batches
