"""Run folders -> `Page`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ngrpo import __version__
from ngrpo.errors import ConfigError
from ngrpo.report.config_tables import config_tables
from ngrpo.report.evaluations_read import with_counts
from ngrpo.report.figure import Figure, Section, Table, run_legend
from ngrpo.report.figures_difficulty import (
    Learner,
    difficulty_figure,
    first_solved_figure,
    first_solved_table,
    training_solved_figure,
)
from ngrpo.report.figures_outcome import (
    auc_figure,
    difference_figure,
    interval_figure,
    outcome_tables,
    pass_at_k_figure,
)
from ngrpo.report.figures_training import gradient_figure, kinds_figure, quantity_figures
from ngrpo.report.outcome import Outcome, run_outcomes
from ngrpo.report.page_parts import Page, RunFindings
from ngrpo.report.report_words import run_table, summary_of_runs
from ngrpo.report.reported_run import ReportedRun, read_run, run_names
from ngrpo.report.rollout_sample import ROOM, packed_rollouts
from ngrpo.report.visible_text import visible_line

MOST_RUNS = 12


def run_page(paths: Sequence[Path], *, room: int = ROOM) -> Page:
    """Returns the page of runs side by side, whatever of them can be read.

    Args:
        paths: run folders, the first is compared with the others.
        room: bytes for the rollouts of all runs.

    Raises:
        ConfigError: for a folder that is no run's or is given twice, or too many.
    """
    if not 1 <= len(paths) <= MOST_RUNS:
        raise ConfigError(
            f"a report is of 1 to {MOST_RUNS} runs, got {len(paths)}; more belong into a study (ngrpo study)"
        )
    names = [visible_line(name, 60) for name in run_names(paths)]
    runs = [read_run(path, name) for path, name in zip(paths, names, strict=True)]
    outcomes = run_outcomes(runs)
    packed = packed_rollouts(runs, room) if any(run.scan.rollouts for run in runs) else None
    return Page(
        title=" and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names),
        summary=summary_of_runs(runs, outcomes),
        sections=_sections(runs, outcomes, names),
        legend=run_legend(names),
        findings=[RunFindings(run.name, run.findings, run.missing) for run in runs],
        rollouts=packed,
        command=f"ngrpo report {shlex.join(map(str, paths))}",
        made=made_by(),
    )


def made_by() -> str:
    """Returns the version and the time, for the page's end."""
    return f"ngrpo {__version__}, {datetime.now(UTC).strftime('%Y-%m-%d %H:%M')} UTC"


def outcome_parts(outcome: Outcome, names: Sequence[str]) -> list[Figure | Table]:
    """Returns the figures and tables of what came out on a task."""
    parts: list[Figure | Table] = [pass_at_k_figure(outcome, names), *outcome_tables(outcome)]
    return [part for part in (*parts, interval_figure(outcome), difference_figure(outcome)) if part is not None]


def difficulty_parts(learners: Sequence[Learner], task: str) -> list[Figure | Table]:
    """Returns the figures and the table of what was learned where."""
    made = (make(learners, task) for make in (difficulty_figure, first_solved_figure, first_solved_table))
    return [part for part in made if part is not None]


def _sections(runs: Sequence[ReportedRun], outcomes: Sequence[Outcome], names: Sequence[str]) -> list[Section]:
    outcome: list[Figure | Table] = []
    difficulty: list[Figure | Table] = []
    for one in outcomes:
        outcome += outcome_parts(one, names)
        over_time = auc_figure(runs, one.task)
        outcome += [over_time] if over_time is not None else []
        difficulty += difficulty_parts(_learners(runs, one.task), one.task)
    if not outcome:
        outcome = [
            Figure(
                "pass-at-k",
                "How often does one of k completions solve a problem?",
                missing="No run has a complete evaluation.",
            )
        ]
    if not difficulty:
        solved = training_solved_figure(runs)
        none = "No run was evaluated before training and after, and no training problem was sampled twice."
        difficulty = [solved or Figure("difficulty", "Which problems does it learn?", missing=none)]
    quantities = quantity_figures(runs) or [
        Figure("steps", "What did the policy do?", missing="No metrics are there yet.")
    ]
    return [
        Section("runs", "Runs", [run_table(runs)]),
        Section("outcome", "What came out", outcome),
        Section("groups", "Groups and gradient", [kinds_figure(runs), gradient_figure(runs)]),
        Section("steps", "Step by step", quantities),
        Section("difficulty", "Learning by difficulty", difficulty),
        Section("findings", "What `ngrpo diagnose` finds"),
        Section("rollouts", "Rollouts"),
        Section("config", "Configuration", config_tables(runs)),
    ]


def _learners(runs: Sequence[ReportedRun], task: str) -> list[Learner]:
    found = []
    for place, run in enumerate(runs):
        if evaluations := with_counts(run.evaluations.get(task, ())):
            found.append(Learner(run.name, place, [evaluations]))
    return found
