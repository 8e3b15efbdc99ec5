"""`Found` and `Diagnosis`: one thing that a log shows, and all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ngrpo.diagnosis.log_rows import Kind, Log

Level = Literal["warning", "fact"]


@dataclass(frozen=True)
class Found:
    """A finding.

    Args:
        name: of the finding; `CURES` has what to paste.
        level: `warning` (something is wrong), or `fact`.
        number: the figure it rests on, a share unless the text has another unit.
        text: one sentence.
        evidence: rows or steps that show it.
    """

    name: str
    level: Level
    number: float
    text: str
    evidence: tuple[str, ...] = ()


class Diagnosed(NamedTuple):
    """A finding with its cure in the tool's own words, and the paper or page that it rests on."""

    found: Found
    cure: str
    source: str

    def to_json(self) -> dict[str, Any]:
        """Returns the finding as a JSON object."""
        return {**self.found.__dict__, "cure": self.cure, "source": self.source}


class Diagnosis(NamedTuple):
    """All findings of a log, and how much of it was read."""

    kind: Kind
    completions: int
    groups: int
    steps: int
    findings: list[Diagnosed]

    @property
    def warnings(self) -> list[Diagnosed]:
        """The findings that something is wrong."""
        return [diagnosed for diagnosed in self.findings if diagnosed.found.level == "warning"]


Detector = Callable[[Log], Iterator[Found]]


def share(part: int, whole: int) -> float:
    """Returns a share, 0 of nothing."""
    return part / whole if whole else 0.0
