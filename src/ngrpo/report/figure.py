"""`Figure`, `Table` and `Section`: what a page is made of, before it is HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ngrpo.report.report_charts import Spec
from ngrpo.report.theme import series_color, series_dash


class LegendEntry(NamedTuple):
    """A name with a line (`dash` is set) or a box of a colour."""

    name: str
    color: str
    dash: str = ""


class Panel(NamedTuple):
    """One chart of a figure; its title is empty where the figure has only one."""

    title: str
    spec: Spec


@dataclass(frozen=True, slots=True)
class Figure:
    """A question, what the data say to it in a sentence, charts, and a note on how to read them.

    Without panels `missing` says why there are none. `columns` is the most panels side by side.
    """

    slug: str
    question: str
    finding: str = ""
    panels: Sequence[Panel] = ()
    legend: Sequence[LegendEntry] = ()
    note: str = ""
    missing: str = ""
    columns: int = 2


class Cell(NamedTuple):
    """A text with, in small print below it, its interval or another remark; `number` aligns it to the right."""

    text: str
    small: str = ""
    number: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """A caption, headings, rows; the first cell of a row names it. `notes` stand below."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page with a heading."""

    slug: str
    title: str
    parts: Sequence[Figure | Table] = ()


def run_legend(names: Sequence[str], *, base: bool = False) -> list[LegendEntry]:
    """Returns the legend of runs in their order, and of the base model; none for a single line."""
    entries = [(name, place) for place, name in enumerate(names)] + ([("base", -1)] if base else [])
    if len(entries) < 2:
        return []
    return [LegendEntry(name, series_color(place), " ".join(map(str, series_dash(place)))) for name, place in entries]


def percent(share: float, digits: int = 1) -> str:
    r"""Returns a share in percent.

    >>> percent(0.1234), percent(-0.00001), percent(1, 0)
    ('12.3\xa0%', '0.0\xa0%', '100\xa0%')
    """
    return f"{round(100 * share, digits) + 0.0:.{digits}f}\N{NO-BREAK SPACE}%"


def points(difference: float, digits: int = 1) -> str:
    """Returns a difference of shares in percentage points with its sign.

    >>> points(0.0123), points(-0.5)
    ('+1.2', '−50.0')
    """
    return f"{round(100 * difference, digits) + 0.0:+.{digits}f}".replace("-", "−")


def interval_text(low: float, high: float, *, signed: bool = False) -> str:
    """Returns an interval of shares in percent.

    >>> interval_text(0.1, 0.25), interval_text(-0.01, 0.02, signed=True)
    ('[10.0, 25.0]', '[−1.0, +2.0]')
    """
    ends = [points(end) if signed else f"{100 * end:.1f}" for end in (low, high)]
    return f"[{ends[0]}, {ends[1]}]"
