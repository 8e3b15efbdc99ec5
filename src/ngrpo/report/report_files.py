"""Writing a report: the page, and its charts as PNG."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ngrpo.charts.chart_files import save_specification
from ngrpo.errors import ConfigError, StorageError
from ngrpo.report.page_parts import Page
from ngrpo.report.report_builder import run_page
from ngrpo.report.report_html import GENERATOR, page_html
from ngrpo.report.reported_run import check_is_run
from ngrpo.report.study_page import is_study, study_page
from ngrpo.report.theme import with_light_colors
from ngrpo.storage import atomic_file

FILE = "report.html"
PNG_WIDTH = 640


def page_of(paths: Sequence[Path]) -> Page:
    """Returns the page of run folders, or of the folder of one study.

    Raises:
        ConfigError: for anything else.
    """
    studies = [path for path in paths if is_study(path) and not (path / "config.json").is_file()]
    if studies and len(paths) > 1:
        raise ConfigError(
            f"{studies[0]} is the folder of a study: its report is made by itself, got {len(paths)} folders"
        )
    return study_page(studies[0]) if studies else run_page(paths)


def report_path(paths: Sequence[Path], out: Path | None) -> Path:
    """Returns where the page goes: `out`, else into the folder of the run or study, else into the current folder.

    Raises:
        ConfigError: for what is no run or study; for another ending than .html, a folder that does not exist, or,
            without `out`, a file of that name that is no report.
    """
    for folder in paths:
        if not is_study(folder):
            check_is_run(folder)
    path = out or (paths[0] / FILE if len(paths) == 1 else Path(FILE))
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out {path}: a report's file ends in .html")
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigError(f"--out {path}: must be a file in a folder that exists")
    if out is None and path.exists() and GENERATOR not in path.read_bytes()[:4096].decode("utf-8", "replace"):
        raise ConfigError(f"{path} exists and is no report of ngrpo: choose another file with --out")
    return path


def write_page(page: Page, path: Path) -> None:
    """Writes a page in place of what was there, in one move.

    Raises:
        StorageError: when it cannot be written.
    """
    try:
        with atomic_file(path) as file:
            file.write(page_html(page).encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}; choose another file with --out") from None


def write_pictures(page: Page, folder: Path) -> list[Path]:
    """Writes each chart as PNG and returns the files, FIGURE.png or FIGURE-NUMBER.png.

    Raises:
        StorageError: when they cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for figure in page.figures():
            for place, panel in enumerate(figure.panels):
                number = f"-{place + 1}" if len(figure.panels) > 1 else ""
                path = folder / f"{re.sub(r'[^A-Za-z0-9._-]', '_', figure.slug)}{number}.png"
                title = {"text": figure.question, **({"subtitle": panel.title} if panel.title else {})}
                spec = {**panel.spec, "width": PNG_WIDTH, "title": title, "background": "white"}
                save_specification(with_light_colors(spec), path)
                written.append(path)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}") from None
    return written
