"""Tables of shares with their intervals: for a terminal, for a Markdown page and for a LaTeX paper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table

    from ngrpo.evaluation.statistics.intervals import Interval

"""What --format takes; `table` is the one for a terminal."""

MISSING = "—"

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


class Share(NamedTuple):
    """A cell: a share between 0 and 1, or a difference of two, which is shown with its sign; None is a dash.

    `no_interval` shows a dash in place of an interval that does not exist.
    """

    value: float | None
    interval: Interval | None = None
    signed: bool = False
    no_interval: bool = False


@dataclass(frozen=True, slots=True)
class ShareTable:
    """A heading per column; rows of cells as long as that, each a text or a share."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str | Share]]


def percent(cell: Share, digits: int) -> str:
    """Returns a share in percent, with its interval to one decimal.

    >>> percent(Share(0.27421, (0.221, 0.33)), 2), percent(Share(0.031, signed=True), 1), percent(Share(None), 1)
    ('27.42 [22.1, 33.0]', '+3.1', '—')
    """
    if cell.value is None:
        return MISSING
    text = _rounded(cell.value, digits, cell.signed)
    if cell.interval is None:
        return f"{text} [{MISSING}]" if cell.no_interval else text
    return f"{text} {_interval(cell)}"


def terminal_table(table: ShareTable, digits: int = 2) -> Table:
    """Returns the table for a terminal, the first column to the left; texts are shown as they are, without markup."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(table.headings[0])
    for heading in table.headings[1:]:
        shown.add_column(Text(heading), justify="right", overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(cell) if isinstance(cell, str) else percent(cell, digits) for cell in row))
    return shown


def markdown_table(table: ShareTable) -> str:
    r"""Returns the table in Markdown, one decimal.

    >>> print(markdown_table(ShareTable(["file", "Pass@1"], [["a|b", Share(0.5)]])))
    | file | Pass@1 |
    |---|---:|
    | a\|b | 50.0 |
    """
    rows = [list(map(_markdown_text, table.headings))]
    rows += [[_markdown_text(c) if isinstance(c, str) else percent(c, 1) for c in row] for row in table.rows]
    first, *others = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([first, f"|---|{'---:|' * (len(table.headings) - 1)}", *others])


def latex_table(table: ShareTable) -> str:
    r"""Returns the table as a LaTeX tabular with the rules of booktabs, one decimal, intervals in small print.

    >>> print(latex_table(ShareTable(["", "Pass@1"], [["a_b", Share(-0.031, (-0.1, 0.04), signed=True)]])))
    % needs \usepackage{booktabs}
    \begin{tabular}{lr}
    \toprule
     & Pass@1 \\
    \midrule
    a\_b & $-$3.1 {\scriptsize [$-$10.0, 4.0]} \\
    \bottomrule
    \end{tabular}
    """
    first = " & ".join(map(_latex_text, table.headings)) + r" \\"
    rows = [" & ".join(_latex_text(c) if isinstance(c, str) else _latex_share(c) for c in row) for row in table.rows]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            rf"\begin{{tabular}}{{l{'r' * (len(table.headings) - 1)}}}",
            r"\toprule",
            first,
            r"\midrule",
            *(row + r" \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def noted(text: str, notes: Sequence[str], format_name: str) -> str:
    """Returns a Markdown or LaTeX table with its notes below, in LaTeX as comments."""
    if not notes:
        return text
    lines = [f"% {_one_line(note)}" if format_name == "latex" else f"- {_markdown_text(note)}" for note in notes]
    return "\n".join([text, *([] if format_name == "latex" else [""]), *lines])


def _interval(cell: Share) -> str:
    low, high = cell.interval or (0.0, 0.0)
    return f"[{_rounded(low, 1)}, {_rounded(high, 1)}]"


def _rounded(share: float, digits: int, signed: bool = False) -> str:
    value = round(100 * share, digits) + 0.0  # 0, not -0
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"


def _latex_share(cell: Share) -> str:
    if cell.value is None:
        return "--"
    text = _rounded(cell.value, 1, cell.signed)
    if cell.interval is not None:
        text += rf" {{\scriptsize {_interval(cell)}}}"
    text = text.replace("-", "$-$").replace("+", "$+$")
    return text + r" {\scriptsize [--]}" if cell.interval is None and cell.no_interval else text


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in _one_line(text)).replace(MISSING, "--")


def _markdown_text(text: str) -> str:
    return re.sub(r"([\\|`*_<\[\]])", r"\\\1", _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(text.split())
