"""`ngrpo lint`: what will not work as intended in a config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ngrpo.linting.rule import Finding


def lint(
    config: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG",
            help="A config of ngrpo (.toml, config.json), TRL (.yaml, .json, a .py file with GRPOConfig(...)), verl "
            "(.yaml, a .sh or .txt file of overrides) or prime-rl (.toml). Nothing in it is executed.",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Override a setting of ngrpo's config; repeatable."),
    ] = None,
    notes: Annotated[
        bool, typer.Option("--notes", help="Show notes too: what is worth knowing, and often intended.")
    ] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find settings of a config that will not work as intended; exit status 1 if there are any."""
    from ngrpo.cli.terminal import counted
    from ngrpo.linting import lint_file

    tool, findings = lint_file(config, overrides or ())
    faults = [finding for finding in findings if finding.level != "note"]
    if json_output:
        shown = findings if notes else faults
        typer.echo(json.dumps({"tool": tool, "faults": len(faults), "findings": [f.to_json() for f in shown]}))
    else:
        for finding in findings if notes else faults:
            typer.echo(shown_finding(finding, str(config)))
        hidden = 0 if notes else len(findings) - len(faults)
        more = f" ({counted(hidden, 'note')}: --notes)" if hidden else ""
        typer.echo(f"{config}: {counted(len(faults), 'fault')}, read as a config of {tool}{more}", err=True)
    if faults:
        raise typer.Exit(1)


def shown_finding(finding: Finding, path: str) -> str:
    """Returns a finding as lines for a terminal: place, rule and reason; the fix; the source."""
    from ngrpo.cli.terminal import shown

    place = f"{path}:{finding.line}" if finding.line else path
    key = f"{shown(finding.key, 200)}: " if finding.key else ""
    lines = [f"{place}: {finding.level} {finding.rule}: {key}{shown(finding.reason, 600)}"]
    if finding.fix:
        lines.append(f"    fix:    {shown(finding.fix, 400)}")
    lines.append(f"    source: {finding.source}")
    return "\n".join(lines)
