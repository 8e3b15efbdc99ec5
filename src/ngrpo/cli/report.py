"""`ngrpo report`: one offline HTML page of runs or of a study."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from ngrpo.errors import ConfigError


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run folders, side by side, or the folder of one study."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="The page.",
            show_default="report.html in the folder of the run or study; of several runs in the current folder",
        ),
    ] = None,
    png: Annotated[Path | None, typer.Option("--png", metavar="DIR", help="Write each chart as PNG too.")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Serve the page on 127.0.0.1 while the runs go on, renewed after each step; Ctrl-C ends."
        ),
    ] = False,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port of --live; 0 for any free one.", show_default="any")
    ] = 0,
) -> None:
    """Write one HTML page of runs or of a study: results, groups, gradient, rollouts, findings, config."""
    from ngrpo.report import page_of, report_path, write_page, write_pictures

    if live:
        if out is not None or png is not None:
            raise ConfigError("--live serves the page and writes nothing: give it without --out and --png")
        _serve(runs, port, open_page=open_page)
        return
    path = report_path(runs, out)
    page = page_of(runs)
    write_page(page, path)
    typer.echo(f"report: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    if png is not None:
        typer.echo(f"pictures: {len(write_pictures(page, png))} in {png}")
    if open_page:
        open_in_browser(path)


def open_in_browser(path: Path) -> None:
    """Opens a page in the reader's browser, or says that there is none."""
    import webbrowser

    if not webbrowser.open(path.resolve().as_uri()):
        typer.echo("no browser was found: open the page by hand", err=True)


def _serve(runs: list[Path], port: int, *, open_page: bool) -> None:
    import webbrowser

    from ngrpo.report.live_server import LiveServer

    with LiveServer(runs, port) as server:
        typer.echo(f"live report: {server.address} (Ctrl-C ends)")
        if open_page:
            webbrowser.open(server.address)
        with suppress(KeyboardInterrupt):
            server.serve()
