"""The config of a study: an ordinary config with a `[study]` table, and the cells of the grid that it spans."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ngrpo.config.loading import apply_overrides, config_of, read_tables
from ngrpo.config.tables import Config
from ngrpo.errors import ConfigError
from ngrpo.settings import Settings


class StudySettings(Settings):
    """The `[study]` table."""

    name: str = "study"
    """Name of the study's folder, below studies/."""
    seeds: int = Field(5, ge=1)
    """Training seeds of each variant; a variant may have its own number."""
    first_seed: int = Field(0, ge=0)
    """The first of these seeds; the others follow it."""
    compare_to: str
    """The variant that all others are compared with."""
    equal: Literal["", "rollouts", "updates", "tokens"] = ""
    """What all runs use alike, `budget` of it; otherwise each has the length that its settings say."""
    budget: int = Field(0, ge=0)
    """Sampled completions, updates or sampled tokens of each run."""
    primary: str = "auc"
    """The statistic that decides, fixed beforehand: auc, or pass@K such as pass@64."""
    last_evaluations: int = Field(1, ge=1)
    """Each seed's value is the mean over so many of its last evaluations."""
    keep_runs: bool = False
    """Keep the run folders of finished cells; otherwise only their summaries."""
    vary: dict[str, dict[str, Any]]
    """Variants: name -> settings, as `"method.name" = "grpo"` or as tables; `seeds` is the variant's own number."""

    @field_validator("primary")
    @classmethod
    def _is_a_statistic(cls, primary: str) -> str:
        if primary != "auc" and not re.fullmatch(r"pass@[1-9][0-9]*", primary):
            raise ValueError("must be auc or pass@K")
        return primary

    @model_validator(mode="after")
    def _equal_of_a_budget(self) -> Self:
        if bool(self.equal) != bool(self.budget):
            raise ValueError(f"equal is '{self.equal}' and budget is {self.budget}: give both, or neither")
        return self


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of the grid."""

    variant: str
    seed: int
    config: Config

    @property
    def slug(self) -> str:
        """The cell's name in files, such as `ngrpo/3`."""
        return f"{file_name(self.variant)}/{self.seed}"


@dataclass(frozen=True, slots=True)
class Study:
    """A study: its settings and the cells of its grid, seed by seed, so that a part of it is a smaller study."""

    settings: StudySettings
    cells: tuple[Cell, ...]


def load_study(path: str | Path, overrides: list[str] | None = None) -> Study:
    """Returns the study of a TOML file; every cell's config is checked.

    Args:
        path: the file.
        overrides: settings of all cells, such as `"run.steps=100"`, or of the study, such as `"study.seeds=3"`.

    Raises:
        ConfigError: when the file or a variant's settings are wrong.
    """
    tables = read_tables(Path(path))
    if not isinstance(tables.get("study"), dict):
        raise ConfigError(f"{path}: the table [study] is missing")
    of_study = [override for override in overrides or [] if override.strip().startswith("study.")]
    of_cells = [override for override in overrides or [] if override not in of_study]
    apply_overrides(tables, of_study)
    settings = StudySettings.parse(tables.pop("study"), where=f"{path}: [study] ")
    _check_variants(settings, str(path))
    cells = sorted(_cells(settings, tables, str(path), of_cells), key=lambda cell: cell.seed)
    return Study(settings, tuple(cells))


def file_name(variant: str) -> str:
    """Returns a variant's name as a file name.

    >>> file_name("NGRPO, G = 32")
    'NGRPO_G_32'
    """
    return re.sub(r"[^A-Za-z0-9.-]+", "_", variant).strip("._")


def _check_variants(settings: StudySettings, path: str) -> None:
    where, names = f"{path}: [study] ", list(settings.vary)
    if not names:
        raise ConfigError(f"{where}vary names no variant; write [study.vary.NAME] tables")
    if settings.compare_to not in names:
        raise ConfigError(f"{where}compare_to is '{settings.compare_to}'; allowed: {', '.join(names)}")
    files = [file_name(name) for name in names]
    for name, file in zip(names, files, strict=True):
        if not file or files.count(file) > 1:
            raise ConfigError(f"{where}vary: '{name}' needs a name that differs from the others in letters or digits")


def _cells(settings: StudySettings, tables: Mapping[str, Any], path: str, overrides: list[str]) -> Iterator[Cell]:
    for variant, given in settings.vary.items():
        where = f"{path}: [study.vary.{variant}] "
        changes = dict(given)
        seeds = changes.pop("seeds", settings.seeds)
        if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
            raise ConfigError(f"{where}seeds must be a whole number of at least 1, got {seeds!r}")
        merged = _merged(tables, changes, where)
        apply_overrides(merged, overrides)
        shared = config_of(merged, where=where)
        for seed in range(settings.first_seed, settings.first_seed + seeds):
            table = copy.deepcopy(merged)
            table.setdefault("run", {})["seed"] = seed
            table["run"]["name"] = f"{file_name(variant)}-{seed}"
            if settings.equal:
                _set_length(table, settings, shared, where)
            yield Cell(variant, seed, config_of(table, where=where))


def _set_length(table: dict[str, Any], settings: StudySettings, config: Config, where: str) -> None:
    """Gives a run the study's budget, and its evaluations equal parts of it.

    Completions and updates say how many steps the run has, more than it needs where a method samples again; for tokens
    the config's own number is the most it may take.
    """
    run, evaluation = table["run"], table.setdefault("evaluation", {})
    if settings.equal != "tokens" and "steps" in run:
        raise ConfigError(f"{where}[run] steps is given, but [study] equal = '{settings.equal}' sets it: leave it out")
    if not config.evaluation.every:
        evaluation.setdefault("count", settings.last_evaluations)
    if settings.equal == "updates":
        run["steps"] = -(-settings.budget // config.optimizer.updates_per_step)
    else:
        run[f"max_{settings.equal}"] = settings.budget
    if settings.equal == "rollouts":
        run["steps"] = -(-settings.budget // (config.sampling.problems_per_step * config.sampling.group_size))


def _merged(tables: Mapping[str, Any], changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    merged: dict[str, Any] = copy.deepcopy(dict(tables))
    for key, value in changes.items():
        *parents, last = key.split(".")
        table = merged
        for part in parents:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{where}'{key}': '{part}' is not a table")
        if isinstance(value, dict) and isinstance(table.get(last), dict):
            table[last] = {**table[last], **value}
        else:
            table[last] = value
    return merged
