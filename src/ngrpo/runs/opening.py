"""Opening the run folder of a local run: a new run, one that continues, or one that is finished."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ngrpo.config import Config, config_of
from ngrpo.errors import CheckpointError, ConfigError, NgrpoError
from ngrpo.evaluation.resume_record import model_digest, problems_digest
from ngrpo.models.paths import resolve_model_path
from ngrpo.runs.folder_state import has_results
from ngrpo.runs.run_dir import RunDir
from ngrpo.runs.training_problems import training_problems
from ngrpo.storage import remove_partial, write_json
from ngrpo.tasks.on_demand import ProblemsOnDemand

Resume = bool | Literal["auto"]

FREE = {
    "run": {"steps", "max_rollouts", "max_tokens", "name", "save_every", "save_minutes", "keep_checkpoints"}
    | {"keep_rollouts", "trackers", "journal", "tripwires", "max_ungraded_share"},
    "model": {"device", "gradient_checkpointing"},
    "sampling": {"max_sequences"},
    "optimizer": {"tokens_per_micro_batch"},
    "evaluation": {"every", "count"},
}
"""Settings that a resumed run may change: they alter how long it is, what is kept and how it fits, not its results."""
_HASHED_ON_DEMAND = 256
"""Of problems that are made when asked for, so many are compared: their settings decide the others."""


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run folder and its config; `finished` when all is there, `continued` when steps of it are there."""

    run: RunDir
    config: Config
    finished: bool = False
    continued: bool = False


def open_run(
    folder: Path, config: Config, say: Callable[[str], None], *, resume: Resume = False, overwrite: bool = False
) -> OpenedRun:
    """Returns the folder of a run that is about to start or to continue; the caller holds its lock.

    Args:
        folder: the run folder.
        config: the checked config.
        say: is given what a person should know, in one line.
        resume: continue the run that is there; "auto" also starts one where there is none, and accepts a finished one.
        overwrite: replace the run that is there.

    Raises:
        CheckpointError: for a run of verl, or one without a sound checkpoint though it had one.
        ConfigError: when the folder holds something else, the config differs from the run's own, or no step is left.
        DataError: when there is no run folder.
    """
    if resume and overwrite:
        raise ConfigError("--resume continues a run and --overwrite replaces it: choose one")
    print_of = fingerprint(config)
    if resume and not (resume == "auto" and not (folder / "config.json").is_file()):
        return _resumed(folder, config, print_of, say, auto=resume == "auto")
    extra = {"fingerprint": print_of}
    run = RunDir.create(folder, config.to_json(), seed=config.run.seed, extra=extra, overwrite=overwrite)
    return OpenedRun(run, config)


def fingerprint(config: Config) -> dict[str, str]:
    """Returns digests of the training problems, in their order, and of the starting model's weights."""
    problems = training_problems(config)
    if isinstance(problems, ProblemsOnDemand):
        problems = problems[:_HASHED_ON_DEMAND]
    return {"problems": problems_digest(problems), "weights": model_digest(resolve_model_path(config.model.path))}


def is_finished(run: RunDir, config: Config, step: int) -> bool:
    """Returns whether the run has taken all steps, or reached another limit, and made the evaluation of the last."""
    over = step >= config.run.steps or _limit_reached(run, config, step)
    return over and not (config.evaluation.in_run and missing_evaluations(run, config, step))


def _limit_reached(run: RunDir, config: Config, step: int) -> bool:
    """Returns whether the log has a limit on rollouts or tokens reached at a step."""
    if not (config.run.max_rollouts or config.run.max_tokens):
        return False
    totals = next((line for line in run.read_metrics() if line["step"] == step), {})
    rollouts, tokens = (int(totals.get(f"total/{name}_sampled", 0)) for name in ("rollouts", "tokens"))
    return config.run.parts_over(1, step, rollouts, tokens) == 1


def missing_evaluations(run: RunDir, config: Config, step: int) -> list[str]:
    """Returns the names of the evaluation tasks without a summary of this step."""
    made = {summary.task for summary in run.read_summaries() if summary.step == step}
    return [task.slug for task in config.evaluation_tasks() if task.slug not in made]


def sound_checkpoint(run: RunDir, say: Callable[[str], None]) -> tuple[int, Path] | None:
    """Returns the newest checkpoint whose files are whole, None before the first; those passed over are named.

    Raises:
        CheckpointError: when there are checkpoints and every one is damaged.
    """
    damaged: list[str] = []
    for step, path in reversed(run.checkpoints()):
        fault = run.damage(path)
        if fault is None:
            if damaged:
                say(f"damaged: {'; '.join(damaged)}; continuing from {path.name}")
            return step, path
        damaged.append(f"checkpoint {path.name} ({fault})")
    if damaged:
        raise CheckpointError(
            f"{run.path} has no sound checkpoint: {'; '.join(damaged[:3])}; restore one, or start over with --overwrite"
        )
    return None


def set_aside_after(run: RunDir, step: int) -> None:
    """Removes the evaluations of later steps, which are taken again, and renames the checkpoints, which are damaged."""
    for path in run.path.glob("eval/*"):
        if path.name.isdecimal() and int(path.name) > step:
            shutil.rmtree(path)
    for later, path in run.checkpoints():
        if later > step:
            aside = path.with_name(f"damaged_{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)


def resume_command(run: RunDir) -> str:
    """Returns the command that continues a run."""
    path = str(run.path)
    return shlex.join(["ngrpo", "train", str(run.config_path), "--out", path, "--resume"])


def differences(saved: Mapping[str, Any], current: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, Any]]:
    """Yields table, key, saved and current value of each setting that differs."""
    for table, settings in current.items():
        found = saved.get(table)
        before = found if isinstance(found, dict) else {}
        for key in sorted(before.keys() | settings.keys()):
            if before.get(key) != settings.get(key):
                yield table, key, before.get(key), settings.get(key)


def _resumed(
    folder: Path, config: Config, print_of: Mapping[str, str], say: Callable[[str], None], *, auto: bool
) -> OpenedRun:
    run = RunDir.open(folder)
    if run.verl_path.is_dir():
        raise CheckpointError(f"{folder} is a run of verl, whose checkpoints only verl can resume: add --engine verl")
    record = run.read_config()
    if not isinstance(record.get("config"), dict):
        raise CheckpointError(f"{run.config_path} is not the record of a run: the key 'config' is missing")
    config = _with_pinned_revision(config, record["config"])
    current = config.to_json()
    changes = check_same_run(record["config"], current)
    _check_fingerprint(record.get("fingerprint"), print_of, config)
    checkpoint = sound_checkpoint(run, say)
    step = checkpoint[0] if checkpoint else 0
    if is_finished(run, config, step):
        if not auto:
            config.run.check_steps_left(folder, step)
            limits = [f"run.{name}=N" for name in ("max_rollouts", "max_tokens") if getattr(config.run, name)]
            raise ConfigError(
                f"{folder} has reached its limit after {step} steps; to go on, raise it: --set {' or '.join(limits)}"
            )
        limited = "" if step >= config.run.steps else ", its limit is reached"
        say(f"{folder} is finished: {step} of {config.run.steps} steps are taken{limited}")
        run.remove_journals()  # killed after the last checkpoint
        remove_partial(run.checkpoints_path)
        return OpenedRun(run, config, finished=True)
    if checkpoint is None and has_results(folder):
        say(f"{folder} has no checkpoint yet: starting from step 1")
    if changes:
        say("changed settings: " + "; ".join(f"[{table}] {key} {old!r} -> {new!r}" for table, key, old, new in changes))
        write_json(run.config_path, {**record, "config": current})
    return OpenedRun(run, config)


def pin_revision(run: RunDir, commit: str) -> None:
    """Writes the commit of a hub model into the run's config, so that it is loaded again."""
    record = run.read_config()
    if commit and record["config"]["model"].get("revision") != commit:
        record["config"]["model"]["revision"] = commit
        write_json(run.config_path, record)


def _with_pinned_revision(config: Config, saved: Mapping[str, Any]) -> Config:
    """Returns the config with the revision that the run was started with, unless it names one."""
    model = saved.get("model")
    pinned = model.get("revision", "") if isinstance(model, dict) else ""
    if config.model.revision or not isinstance(pinned, str):
        return config
    return config.model_copy(update={"model": config.model.model_copy(update={"revision": pinned})})


def check_same_run(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[tuple[str, str, Any, Any]]:
    """Returns the settings in which a resumed run differs from its own config, all of them free ones.

    Args:
        saved: the config of the run folder.
        current: the config given with --resume.

    Raises:
        ConfigError: when a setting differs that decides results.
    """
    changes = list(differences(_with_later_settings(saved), current))
    for table, key, old, new in changes:
        if key not in FREE.get(table, ()):
            raise ConfigError(
                f"--resume: [{table}] {key} is {new!r}, but the run was started with {old!r}; resume with its own "
                "config.json, or choose another --out"
            )
    return [change for change in changes if change[1] in FREE.get(change[0], ())]


def _with_later_settings(saved: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a run's config with the defaults of settings that are newer than the run; a damaged one as it is."""
    try:
        return config_of(saved).to_json()
    except NgrpoError:
        return saved


def _check_fingerprint(saved: Any, current: Mapping[str, str], config: Config) -> None:
    if not isinstance(saved, dict):
        return
    names = {"problems": f"the training problems of task '{config.task.name}'", "weights": "the weights of the model"}
    for key, name in names.items():
        if key in saved and saved[key] != current[key]:
            where = f" '{config.model.path}'" if key == "weights" else ""
            raise ConfigError(
                f"--resume: {name}{where} have changed since the run was started: restore them, or choose another --out"
            )
