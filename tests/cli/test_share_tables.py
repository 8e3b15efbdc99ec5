"""Tables for terminals, pages and papers: rounding, signs and what must be escaped."""

from ngrpo.cli.share_tables import Share, ShareTable, latex_table, markdown_table, noted, percent
from ngrpo.evaluation.statistics.intervals import Interval


def test_rounding_has_no_negative_zero() -> None:
    assert percent(Share(-0.00001, Interval(-0.00001, 0.0), signed=True), 2) == "+0.00 [0.0, 0.0]"
    assert percent(Share(1.0), 2) == "100.00"


def test_latex_escapes_whatever_a_path_may_hold() -> None:
    text = latex_table(ShareTable(["a & b", "50 %"], [["x_{y}~z^$#\\n\ntwo", Share(None)]]))
    assert r"a \& b & 50 \% \\" in text
    assert r"x\_\{y\}\textasciitilde{}z\textasciicircum{}\$\#\textbackslash{}n two & -- \\" in text


def test_markdown_escapes_what_would_end_a_cell() -> None:
    row = markdown_table(ShareTable(["", "p"], [["a|b*c\nd", "<0.001"]])).splitlines()[2]
    assert row == r"| a\|b\*c d | \<0.001 |"


def test_notes_are_comments_or_a_list() -> None:
    assert noted("table", ["10 % more"], "latex") == "table\n% 10 % more"
    assert noted("table", ["more"], "markdown") == "table\n\n- more"
    assert noted("table", [], "latex") == "table"
