"""Numbers as the tables of docs/results.md show them: shares in percent."""

from __future__ import annotations

from collections.abc import Sequence


def signed(share: float) -> str:
    """Returns a difference of shares in points."""
    return f"{100 * share:+.2f}"


def ends(interval: Sequence[float], form: str = "+.2f") -> str:
    """Returns the two ends of an interval of shares."""
    low, high = (format(100 * end, form) for end in interval)
    return f"[{low}, {high}]"


def p_value(p: float) -> str:
    """Returns a p-value to three decimals."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
