"""Optional trackers: the metrics of a run in TensorBoard, wandb or trackio, under the same names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ngrpo.errors import MissingDependencyError
from ngrpo.runs.observer import Observer

if TYPE_CHECKING:
    from ngrpo.config import Config


def tracker_observers(config: Config, folder: Path) -> list[Observer]:
    """Returns an observer for each tracker that the config names.

    Args:
        config: its [run] table names the trackers.
        folder: the run folder; TensorBoard's files go to its tensorboard/.

    Raises:
        MissingDependencyError: when a tracker's package is not installed.
    """
    return [
        TensorBoard(folder / "tensorboard") if name == "tensorboard" else LoggingService(name, config)
        for name in config.run.trackers
    ]


def flat_evaluation(task: str, summary: Mapping[str, Any]) -> dict[str, float]:
    """Returns the numbers of an evaluation as metrics, such as `eval/countdown/pass@8`."""
    numbers = {f"eval/{task}/pass@{k}": share for k, share in summary["pass_at_k"].items()}
    if summary["auc"] is not None:
        numbers[f"eval/{task}/auc"] = summary["auc"]
    return numbers


class TensorBoard(Observer):
    """Writes event files for TensorBoard."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingDependencyError("tensorboard", "tensorboard", "[run] trackers 'tensorboard'") from None
        self._new_writer, self._folder = SummaryWriter, str(folder)
        self._writer: Any = None

    def on_start(self, facts: Sequence[str], *, first_step: int, last_step: int) -> None:  # noqa: ARG002
        """Opens an event file; on a resume, it takes back what earlier ones say of the steps that are taken again."""
        self._writer = self._new_writer(self._folder, purge_step=first_step if first_step > 1 else None)

    def on_step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Writes every metric of a step."""
        self._write(step, metrics)

    def on_evaluation(self, step: int, task: str, summary: Mapping[str, Any]) -> None:
        """Writes Pass@k and AUC."""
        self._write(step, flat_evaluation(task, summary))

    def close(self) -> None:
        """Closes the event file."""
        if self._writer is not None:
            self._writer.close()

    def _write(self, step: int, numbers: Mapping[str, Any]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()


class LoggingService(Observer):
    """wandb or trackio, whose calls are the same: init, log, finish."""

    def __init__(self, name: str, config: Config) -> None:
        try:
            self._service: Any = import_module(name)
        except ImportError:
            raise MissingDependencyError(name, name, f"[run] trackers '{name}'") from None
        self._service.init(project="ngrpo", name=config.run.name, config=config.to_json())

    def on_step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Logs every metric of a step."""
        self._service.log(dict(metrics), step=step)

    def on_evaluation(self, step: int, task: str, summary: Mapping[str, Any]) -> None:
        """Logs Pass@k and AUC."""
        self._service.log(flat_evaluation(task, summary), step=step)

    def close(self) -> None:
        """Finishes the service's run."""
        self._service.finish()
