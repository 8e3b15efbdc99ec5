"""`ngrpo study`: methods x seeds from one config, in parallel, with paired differences."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ngrpo.cli.share_tables import Share, ShareTable, terminal_table
from ngrpo.evaluation.statistics.intervals import Interval

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ngrpo.study.study_config import Study
    from ngrpo.study.study_results import StudyResults
    from ngrpo.study.study_runner import Progress


def study(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML config with a [study] table.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the study.", show_default="studies/NAME")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Override a setting of all runs, or of the study."),
    ] = None,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Runs at the same time, one thread each.")] = 2,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Compute all numbers from the kept summaries, run nothing.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object, shares 0 to 1.")] = False,
) -> None:
    """Run methods x seeds and compare them with paired seeds; repeat the command to continue."""
    from ngrpo.errors import DataError
    from ngrpo.folder_lock import locked_folder
    from ngrpo.runs.termination import exits_when_terminated
    from ngrpo.storage import write_json
    from ngrpo.study.cell_summary import read_summary
    from ngrpo.study.study_config import load_study
    from ngrpo.study.study_results import results_of
    from ngrpo.study.study_runner import Runner, StudyFolder, finished_cells

    grid = load_study(config, overrides)
    folder = StudyFolder(out or Path("studies") / grid.settings.name)
    with locked_folder(folder.path):
        if not recompute:
            with exits_when_terminated(), _GridFollower(grid, processes, quiet=json_output) as follow:
                Runner(grid, folder, processes=processes, on_progress=follow.update).run()
        finished = finished_cells(grid, folder)
        if not finished:
            raise DataError(f"{folder.path} has no finished run of this study")
        results = results_of(grid.settings, [read_summary(folder.summary(cell)) for cell in finished])
        table = {**_origin(config, overrides), **results.to_json()}
        write_json(folder.path / "results.json", table)
    if json_output:
        typer.echo(json.dumps(table))
    else:
        _show(results, folder.path, len(finished), len(grid.cells))


def _origin(config: Path, overrides: list[str] | None) -> dict[str, Any]:
    from ngrpo import __version__

    settings = "".join(f" --set {override}" for override in overrides or ())
    return {"command": f"ngrpo study {config}{settings}", "version": __version__}


class _GridFollower:
    """A live table of the grid on a terminal; elsewhere a line whenever a run ends."""

    def __init__(self, grid: Study, processes: int, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        self._grid, self._processes, self._finished = grid, processes, -1
        self._console = Console(stderr=True, quiet=quiet)
        live = self._console.is_terminal and not quiet
        self._live = Live(console=self._console, refresh_per_second=2) if live else None

    def __enter__(self) -> _GridFollower:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, progress: Progress) -> None:
        """Shows the grid as it is."""
        if self._live is not None:
            self._live.update(_grid_table(self._grid, progress, self._processes))
            return
        finished = sum(state == "finished" for state in progress.cells.values())
        if finished != self._finished:
            self._finished = finished
            self._console.print(f"{finished} of {len(progress.cells)} runs finished{_left(progress, self._processes)}")


def _grid_table(grid: Study, progress: Progress, processes: int) -> RenderableType:
    from rich.table import Table

    signs = {"finished": "■", "waiting": "·", "failed": "x"}
    table = Table("variant", "seeds", title=f"{grid.settings.name}{_left(progress, processes)}", title_justify="left")
    for variant in grid.settings.vary:
        cells = [cell for cell in grid.cells if cell.variant == variant]
        states = []
        for cell in cells:
            state = progress.cells[cell.slug]
            done = progress.steps.get(cell.slug, 0)
            states.append(f"{done}/{cell.config.run.steps}" if state == "running" else signs[state])
        table.add_row(variant, " ".join(states))
    return table


def _left(progress: Progress, processes: int) -> str:
    seconds = progress.seconds_left(processes)
    if not seconds:
        return ""
    return (
        f", about {seconds / 3600:.1f} h left" if seconds > 5400 else f", about {max(1, round(seconds / 60))} min left"
    )


def _show(results: StudyResults, folder: Path, finished: int, total: int) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if finished < total:
        console.print(f"{finished} of {total} runs are finished")
    first = results.variants[0]
    shown = [k for k in first.ks if k in {1, 8, 64}]
    rows: list[list[Any]] = []
    for result in results.variants:
        means = result.means
        shares = [_share(means[-1], result.intervals[-1])]
        shares += [_share(means[first.ks.index(k)], result.intervals[first.ks.index(k)]) for k in shown]
        rows.append([result.variant, str(len(result.seeds)), f"{result.rollouts:,.0f}", *shares])
    headings = ["variant", "seeds", "rollouts", "AUC", *(f"Pass@{k}" for k in shown)]
    console.print(terminal_table(ShareTable(headings, rows), 1))
    if results.differences:
        console.print(_difference_table(results))
    for result in results.variants:
        if result.stopped:
            console.print(f"{result.variant}: {result.stopped} of {len(result.seeds)} runs ended early")
    console.print(f"results: {folder / 'results.json'}", markup=False, soft_wrap=True)


def _difference_table(results: StudyResults) -> RenderableType:
    ks, baseline = results.variants[0].ks, results.settings.compare_to
    rows: list[list[Any]] = []
    for d in results.differences:
        better = ", ".join(str(k) for k, above in zip(ks, d.band.above, strict=True) if above) or "none"
        worse = ", ".join(str(k) for k, below in zip(ks, d.band.below, strict=True) if below) or "none"
        share = _share(d.differences[-1], d.intervals[-1], signed=True)
        rows.append([f"{d.variant} - {baseline}", str(d.seeds), share, f"{d.holm_p:.3f}", better, worse])
    headings = ["difference", "seeds", "AUC", f"p of {results.settings.primary}, Holm", "better at k", "worse at k"]
    return terminal_table(ShareTable(headings, rows), 1)


def _share(value: float, interval: Sequence[float], *, signed: bool = False) -> Share:
    return Share(float(value), Interval(float(interval[0]), float(interval[1])), signed=signed)
