"""`ngrpo power`: seeds and problems that a comparison needs, from pilot files."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ngrpo.cli.passk import whole_numbers
from ngrpo.cli.share_tables import Share, ShareTable, terminal_table
from ngrpo.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ngrpo.evaluation.statistics.units import Floats


def power(
    files: Annotated[
        list[Path], typer.Argument(metavar="A...", help="Pilot of A: a samples file or run folder per training seed.")
    ],
    against: Annotated[
        list[Path], typer.Option("--against", metavar="B", help="Pilot of B, with the same seeds in order; repeatable.")
    ],
    seeds: Annotated[str, typer.Option("--seeds", help="Numbers of seeds to plan for.")] = "3,5,10",
    problems: Annotated[
        str | None, typer.Option("--problems", help="Numbers of problems to plan for.", show_default="the pilot's")
    ] = None,
    effect: Annotated[float, typer.Option("--effect", help="Difference to find, as a share of 1.")] = 0.02,
    statistic: Annotated[str, typer.Option("--statistic", help="auc, or pass@K such as pass@8.")] = "auc",
    chance: Annotated[float, typer.Option("--power", help="Chance of finding the smallest difference.")] = 0.8,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show which differences of A and B could be seen with how many seeds and problems."""
    from rich.console import Console

    from ngrpo.evaluation.statistics.design_power import plan_of

    differences = _differences(files, against, statistic)
    of_problems = whole_numbers("--problems", problems, such_as="128,1024") if problems else [differences.shape[1]]
    designs = itertools.product(whole_numbers("--seeds", seeds, such_as="3,5,10"), of_problems)
    plans = [plan_of(differences, seeds=s, problems=p, effect=effect, power=chance) for s, p in designs]
    if json_output:
        rows = [
            {"seeds": p.seeds, "problems": p.problems, "smallest": p.smallest, "half_width": p.half_width,
             "chance": p.chance}
            for p in plans
        ]  # fmt: skip
        typer.echo(json.dumps({"statistic": statistic, "effect": effect, "power": chance, "plans": rows}))
        return
    headings = [
        "seeds", "problems", f"smallest difference seen ({chance:.0%})", "half-width of the interval",
        f"chance to see {100 * effect:g} points",
    ]  # fmt: skip
    table = ShareTable(
        headings,
        [[str(p.seeds), f"{p.problems:,}", Share(p.smallest), Share(p.half_width), Share(p.chance)] for p in plans],
    )
    Console().print(terminal_table(table, 1))


def _differences(files: list[Path], against: list[Path], statistic: str) -> Floats:
    """Returns A - B [seeds, problems] of the statistic."""
    import numpy as np

    from ngrpo.evaluation.samples.entry import NO_CHOICES
    from ngrpo.evaluation.statistics.problem_values import aligned_values
    from ngrpo.runs.sample_files import read_samples

    if len(files) != len(against):
        raise ConfigError(f"power pairs seeds: A has {len(files)} files, --against {len(against)}")
    sides = [list(read_samples(side, NO_CHOICES).values()) for side in (files, against)]
    aligned = aligned_values([*sides[0], *sides[1]], None, "excluded")
    names = [f"pass@{k}" for k in aligned.ks] + (["auc"] if aligned.has_auc else [])
    if statistic not in names:
        raise DataError(f"--statistic is {statistic!r}; the files have {', '.join(names)}")
    values = np.asarray(aligned.values)[:, :, names.index(statistic)]
    found: Floats = values[: len(files)] - values[len(files) :]
    return found
