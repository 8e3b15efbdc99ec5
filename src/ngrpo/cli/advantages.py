"""`ngrpo advantages`: what each method gives a correct and a wrong completion, by how many are correct."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from ngrpo.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from ngrpo.methods import Method

_LARGEST_GROUP = 1024
_FRAME = 3
"""Characters of padding and border that a column adds to its content."""


@dataclass(frozen=True, slots=True)
class AdvantageRow:
    """A group with `correct` correct ones: the advantage of each kind (None: there is none) and the sum."""

    correct: int
    advantage_correct: float | None
    advantage_wrong: float | None
    sum: float


def advantages(
    group_size: Annotated[int, typer.Option("--group-size", help="Completions per problem (G).")] = 8,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="Method to show; repeatable.", show_default="all"),
    ] = None,
    num_virtual: Annotated[int, typer.Option("--num-virtual", help="Virtual completions of NGRPO.")] = 1,
    max_reward: Annotated[float, typer.Option("--max-reward", help="Reward of a correct completion.")] = 1.0,
    std: Annotated[
        str, typer.Option("--std", help="Deviation that divides: sample (n - 1) or population (n).")
    ] = "sample",
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object, unrounded.")] = False,
) -> None:
    """Print what each method gives a correct and a wrong completion."""
    settings = {"max_reward": max_reward, "num_virtual": num_virtual, "std": std}
    rows = advantage_rows(group_size, method or None, **settings)
    if json_output:
        methods = {name: [asdict(row) for row in table] for name, table in rows.items()}
        typer.echo(json.dumps({"group_size": group_size, **settings, "methods": methods}))
        return
    from rich.console import Console

    console = Console()
    shown = ", ".join(f"{key} {value}" for key, value in settings.items())
    typer.echo(f"Advantage of a correct / a wrong completion, c of {group_size} correct ({shown})")
    for table in advantage_tables(rows, console.width):
        console.print(table)


def advantage_rows(
    group_size: int, methods: Iterable[str] | None = None, **settings: Any
) -> dict[str, list[AdvantageRow]]:
    """Returns, by method, a row for each number of correct completions from 0 to `group_size`.

    Args:
        group_size: completions per problem, 1 to 1024.
        methods: names from `ngrpo.methods.METHODS`; by default all.
        settings: settings of the methods, such as `num_virtual`; each method takes those that it has.

    Raises:
        ConfigError: for an unknown method or a value out of range.
    """
    from ngrpo.methods import METHODS, Deviation, load_method

    if not 1 <= group_size <= _LARGEST_GROUP:
        raise ConfigError(f"the group size must lie between 1 and {_LARGEST_GROUP}, got {group_size}")
    reward = settings.get("max_reward", 1.0)
    if not (reward > 0 and math.isfinite(reward)):
        raise ConfigError(f"max_reward must be a finite number above 0, got {reward}")
    if settings.get("std", "sample") not in get_args(Deviation):
        raise ConfigError(f"std must be one of {', '.join(get_args(Deviation))}; got {settings['std']!r}")
    if settings.get("num_virtual", 1) < 0:
        raise ConfigError(f"num_virtual must be at least 0, got {settings['num_virtual']}")
    rows = {}
    for name in METHODS if methods is None else methods:
        fields = METHODS[name].model_fields if name in METHODS else ()
        known = {key: value for key, value in settings.items() if key in fields}
        rows[name] = _rows(load_method({"name": name, **known}), group_size, reward)
    return rows


def advantage_tables(rows: Mapping[str, Sequence[AdvantageRow]], width: int) -> Iterator[Table]:
    """Yields tables with a row per number of correct completions and as many methods side by side as fit.

    Args:
        rows: by method, as `advantage_rows` returns them.
        width: characters that a table may take.
    """
    from rich.table import Table

    cells = {name: [_cell(row) for row in column] for name, column in rows.items()}
    counts = [str(row.correct) for row in next(iter(rows.values()), [])]
    widest = max((len(text) for name in cells for text in (name, *cells[name])), default=0)
    side_by_side = max(1, (width - max(map(len, counts), default=0) - _FRAME - 1) // (widest + _FRAME))
    names = list(cells)
    for start in range(0, len(names), side_by_side):
        shown = names[start : start + side_by_side]
        table = Table("c")
        for name in shown:
            table.add_column(name, justify="right", no_wrap=True)
        for row in zip(counts, *(cells[name] for name in shown), strict=True):
            table.add_row(*row)
        yield table


def _rows(method: Method, group_size: int, max_reward: float) -> list[AdvantageRow]:
    import torch

    correct = torch.ones(group_size + 1, group_size, dtype=torch.float64).tril(-1)
    result = method.advantages(correct * max_reward).tolist()
    return [
        AdvantageRow(
            correct=count,
            # "+ 0.0" turns a negative zero, which JSON and tables would show, into zero.
            advantage_correct=group[0] + 0.0 if count > 0 else None,
            advantage_wrong=group[-1] + 0.0 if count < group_size else None,
            sum=math.fsum(group) + 0.0,
        )
        for count, group in enumerate(result)
    ]


def _cell(row: AdvantageRow) -> str:
    return f"{_rounded(row.advantage_correct)} / {_rounded(row.advantage_wrong)}"


def _rounded(advantage: float | None) -> str:
    return "—" if advantage is None else f"{round(advantage, 3) + 0.0:.3f}"
