"""`ngrpo diagnose`: what a run's log shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ngrpo.diagnosis.finding import Diagnosed


def diagnose(
    log: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|RUN",
            help="A run folder, rollouts.jsonl or metrics.jsonl of ngrpo; verl's rollout dumps or metrics; TRL's "
            "completions (parquet) or trainer_state.json; prime-rl's traces.jsonl; an export of wandb or TensorBoard "
            "(CSV, JSON); a table with a group id and a reward. Or a folder of them.",
        ),
    ],
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find what is wrong in the log of any run; exit status 1 if anything is."""
    from ngrpo.cli.terminal import counted, shown
    from ngrpo.diagnosis import diagnose as diagnosis_of
    from ngrpo.diagnosis import read_log

    found = diagnosis_of(read_log(log))
    if json_output:
        typer.echo(
            json.dumps(
                {
                    "kind": found.kind,
                    "completions": found.completions,
                    "groups": found.groups,
                    "steps": found.steps,
                    "warnings": len(found.warnings),
                    "findings": [diagnosed.to_json() for diagnosed in found.findings],
                }
            )
        )
    else:
        for diagnosed in found.findings:
            typer.echo(shown_diagnosis(diagnosed))
        size = f"{counted(found.completions, 'completion')} in {counted(found.groups, 'group')}"
        warnings, steps = counted(len(found.warnings), "warning"), counted(found.steps, "step")
        typer.echo(f"{shown(str(log), 400)}: {warnings}; a log of {found.kind}: {size}, {steps}", err=True)
    if found.warnings:
        raise typer.Exit(1)


def shown_diagnosis(diagnosed: Diagnosed) -> str:
    """Returns a finding as lines for a terminal: what, the evidence, the cure, the source."""
    from ngrpo.cli.terminal import shown

    found = diagnosed.found
    lines = [f"{found.level} {found.name}: {shown(found.text, 300)}"]
    lines += [f"    {shown(line, 160)}" for line in found.evidence]
    if found.level == "warning":
        lines.append(f"    cure:   {diagnosed.cure}")
        lines.append(f"    source: {diagnosed.source}")
    return "\n".join(lines)
