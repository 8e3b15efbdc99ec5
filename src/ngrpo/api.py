"""Train, evaluate and compare from Python: what the command line calls, with the same checks and the same folders."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ngrpo.choices import SAMPLERS, Engine, UngradedAs
from ngrpo.config import Config, apply_overrides, config_of, load_config
from ngrpo.errors import ConfigError, DataError
from ngrpo.folder_lock import locked_folder
from ngrpo.runs.checks import check_before_loading
from ngrpo.runs.observer import Observer, Observers
from ngrpo.runs.opening import Resume as ResumeRun
from ngrpo.runs.run_dir import RunDir
from ngrpo.runs.storage_faults import storage_errors
from ngrpo.runs.termination import StopSignals

if TYPE_CHECKING:
    from ngrpo.evaluation.evaluate import Evaluation
    from ngrpo.evaluation.evaluation_run import Resume
    from ngrpo.evaluation.statistics.comparison import Comparison


def train(
    config: Config | Mapping[str, Any] | str | Path,
    folder: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    resume: ResumeRun = False,
    overwrite: bool = False,
    engine: Engine = "local",
    progress: bool = True,
    observers: Sequence[Observer] = (),
) -> RunDir:
    """Trains a model from a config and returns its run folder.

    Args:
        config: a `Config`, a table of tables, or the path of a TOML config or of a run's config.json.
        folder: the run folder; `runs/NAME` by default.
        overrides: settings such as `"run.steps=100"`; not with a `Config`.
        resume: continue from the newest sound checkpoint of the run folder; "auto" starts a run where there is none,
            and returns a finished one.
        overwrite: replace the run that the folder holds.
        engine: `local`, or `verl` (Ray, FSDP and vLLM on the machines of `[cluster]`).
        progress: show steps and evaluations on standard error; messages are shown in either case.
        observers: followers of the run beside the terminal and the config's trackers.

    Returns:
        The run folder, with `read_metrics()`, `read_summaries()` and `latest_checkpoint()`.

    Raises:
        NgrpoError: for whatever is wrong with the config, the data, the model or the folder, in one line.

    Examples:
        >>> run = train("configs/countdown/ngrpo.toml", "runs/first", overrides=["run.steps=20"])  # doctest: +SKIP
        >>> run.read_metrics()[-1]["group/all_wrong"]  # doctest: +SKIP
    """
    from ngrpo.runs.progress import Progress
    from ngrpo.training.local_run import train_locally
    from ngrpo.training.ranks import Ranks, ranks_of, refuse_torchrun

    if engine not in get_args(Engine):
        raise ConfigError(f"engine must be {' or '.join(get_args(Engine))}, got {engine!r}")

    def run(ranks: Ranks) -> RunDir:
        settings = checked_config(config, overrides)
        path = Path(folder) if folder is not None else Path("runs") / settings.run.name
        followers = [Progress(quiet=not progress), *observers] if ranks.leads else [Observer()]
        if resume is True and not path.is_dir():
            raise DataError(f"no run folder at {path}")
        if engine == "verl":
            return _train_with_verl(settings, path, followers, resume=resume, overwrite=overwrite)
        lint = partial(_show_faults, followers)
        return train_locally(settings, path, followers, ranks, before_start=lint, resume=resume, overwrite=overwrite)

    if engine == "verl":
        refuse_torchrun("--engine verl, which starts its own processes,")
    with ranks_of(StopSignals()) as ranks:
        return ranks.together(lambda: run(ranks))


def evaluate(
    model: str | Path,
    task: str | Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    resume: Resume = False,
    progress: bool = True,
) -> Evaluation:
    """Samples a model on a task, grades the completions and returns Pass@k with its AUC.

    Args:
        model: `builtin:countdown-base`, a model, checkpoint or run folder, or a hub id; for sampler `endpoint` the
            name that the server knows it by.
        task: a task's name or its table; by default a run's own task, with the run's `[evaluation]` settings.
        folder: for samples, record and summary; `evals/MODEL/TASK` by default.
        settings: keys of the `[evaluation]` table, such as `{"samples": 64}`.
        overrides: settings of any table, such as `"sampling.max_sequences=64"`.
        resume: continue an unfinished evaluation; "retry-refused" asks again for refused completions.
        progress: show a progress bar on standard error.

    Returns:
        The evaluation; its `summary` holds `pass_at_k`, `auc` and their intervals.

    Raises:
        NgrpoError: for whatever is wrong with the model, the task, the folder or the server, in one line.
    """
    config, path = evaluation_config(model, task, folder, settings=settings, overrides=overrides)
    return evaluate_config(config, path, resume=resume, progress=progress)[0]


def compare(
    a: str | Path | Sequence[str | Path],
    b: str | Path | Sequence[str | Path],
    *,
    ks: Sequence[int] | None = None,
    ungraded: UngradedAs = "excluded",
    only_common: bool = False,
) -> Comparison:
    """Returns how A differs from B in Pass@k and AUC, paired by problem, with 95 % intervals.

    Args:
        a: a samples file, an evaluation folder or a run folder; several are the training seeds of one method.
        b: as `a`.
        ks: values of k; 1, 2, 4, ... n by default.
        ungraded: what ungraded completions count as.
        only_common: leave out problems that are not in all files, instead of an error.

    Raises:
        NgrpoError: for files that cannot be read, or of other problems, in one line.
    """
    from ngrpo.evaluation.samples.entry import NO_CHOICES
    from ngrpo.evaluation.statistics.comparison import compare as compared
    from ngrpo.evaluation.statistics.matching import common_problems
    from ngrpo.runs.sample_files import read_samples

    # A side is read by itself: only within one side is the same file a mistake.
    sides = [[Path(side)] if isinstance(side, str | Path) else list(map(Path, side)) for side in (a, b)]
    first, second = (list(read_samples(paths, NO_CHOICES).values()) for paths in sides)
    files = common_problems([*first, *second]).files if only_common else [*first, *second]
    return compared(files[: len(first)], files[len(first) :], ks, ungraded=ungraded)


def evaluate_config(
    config: Config, folder: Path, *, resume: Resume, progress: bool
) -> tuple[Evaluation, dict[str, Any]]:
    """Returns the evaluation of a checked config, and the content of its summary.json."""
    from ngrpo.evaluation.evaluation_run import run_evaluation
    from ngrpo.runs.progress import EvaluationProgress
    from ngrpo.runs.termination import exits_when_terminated

    with (
        storage_errors(lambda: f"what has arrived is kept in {folder}; continue with --resume"),
        EvaluationProgress(config.task.slug, quiet=not progress) as follower,
        exits_when_terminated(),
    ):
        return run_evaluation(config, folder, follower, resume=resume)


def evaluation_config(
    model: str | Path,
    task: str | Mapping[str, Any] | None = None,
    folder: str | Path | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    tables: Mapping[str, Mapping[str, Any]] | None = None,
    overrides: Sequence[str] = (),
) -> tuple[Config, Path]:
    """Returns the config of an evaluation and its folder; see `evaluate`.

    Args:
        model: as in `evaluate`.
        task: as in `evaluate`.
        folder: as in `evaluate`.
        settings: as in `evaluate`.
        overrides: as in `evaluate`.
        tables: settings of further tables, such as `{"sampling": {"sampler": "vllm"}}`.
    """
    from ngrpo.runs.own_evaluation import checkpoint_of, own_tables

    given = dict(tables or {})
    defaults = own_tables(str(model)) if task is None else {"task": {"name": task} if isinstance(task, str) else task}
    kind = SAMPLERS.get(given.get("sampling", {}).get("sampler", ""))
    served = kind is not None and kind.remote
    merged: dict[str, Any] = {
        **given,
        "model": {"path": str(model) if served else checkpoint_of(str(model), _warn)},
        "task": dict(defaults["task"]),
        "sampling": {**defaults.get("sampling", {}), **given.get("sampling", {})},
        "evaluation": {**defaults.get("evaluation", {}), **(settings or {})},
    }
    apply_overrides(merged, overrides)
    config = config_of(merged)
    return config, Path(folder) if folder is not None else Path("evals") / _file_name(str(model)) / config.task.slug


def _warn(text: str) -> None:
    sys.stderr.write(f"ngrpo: {text}\n")


def _file_name(model: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", model).strip("._")
    return name[-100:] or "model"


def checked_config(config: Config | Mapping[str, Any] | str | Path, overrides: Sequence[str] = ()) -> Config:
    """Returns the config of any of the forms that `train` takes."""
    if isinstance(config, str | Path):
        return load_config(config, overrides)
    if isinstance(config, Config):
        if overrides:
            raise ConfigError("overrides change a file or a table; a Config is final")
        return config
    tables = {name: dict(table) if isinstance(table, Mapping) else table for name, table in config.items()}
    apply_overrides(tables, overrides)
    return config_of(tables)


def _show_faults(followers: Sequence[Observer], config: Config) -> None:
    """Shows what `ngrpo lint` finds in a config, without its notes."""
    from ngrpo.linting import lint_config

    for finding in lint_config(config):
        if finding.level != "note":
            for follower in followers:
                follower.on_message(f"lint: {finding.key}: {finding.reason}; fix: {finding.fix}")


def _train_with_verl(
    config: Config, folder: Path, followers: Sequence[Observer], *, resume: ResumeRun, overwrite: bool
) -> RunDir:
    from ngrpo.engines.verl.expressible import check_expressible
    from ngrpo.engines.verl.installed import check_installed
    from ngrpo.engines.verl.raw_overrides import check_schema

    check_expressible(config, config.cluster)
    check_installed(config, config.cluster)
    check_schema(config.cluster.overrides)
    check_before_loading(config)
    from ngrpo.engines.verl.run import run_verl  # imports torch
    from ngrpo.engines.verl.verl_opening import open_verl_run
    from ngrpo.runs.trackers import tracker_observers

    with locked_folder(folder), storage_errors(lambda: f"{folder} is incomplete; continue with --resume"):
        opened = open_verl_run(folder, config, followers[0].on_message, resume=resume, overwrite=overwrite)
        if opened.finished:
            return opened.run
        _show_faults(followers, config)
        observer = Observers([*followers, *tracker_observers(config, opened.run.path)])
        try:
            run_verl(config, opened.run, observer, resume=opened.continued)
        finally:
            observer.close()
    return opened.run
