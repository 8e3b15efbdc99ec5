"""`Page`: everything that the template is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ngrpo.diagnosis.finding import Diagnosed
from ngrpo.report.figure import Figure, LegendEntry, Section


class RunFindings(NamedTuple):
    """What `ngrpo diagnose` finds in a run, and what of the run is missing."""

    name: str
    findings: Sequence[Diagnosed]
    missing: Sequence[str]

    @property
    def warnings(self) -> int:
        """How many findings are warnings."""
        return sum(diagnosed.found.level == "warning" for diagnosed in self.findings)


@dataclass(frozen=True, slots=True)
class Page:
    """A report before it is HTML. `rollouts` is None where no run has any; `command` made it."""

    title: str
    summary: Sequence[str]
    sections: Sequence[Section]
    legend: Sequence[LegendEntry] = ()
    findings: Sequence[RunFindings] = ()
    rollouts: dict[str, Any] | None = None
    command: str = ""
    made: str = ""

    def figures(self) -> list[Figure]:
        """Returns all figures in the page's order."""
        return [part for section in self.sections for part in section.parts if isinstance(part, Figure)]
