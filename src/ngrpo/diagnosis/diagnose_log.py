"""A log -> its findings."""

from __future__ import annotations

from ngrpo.diagnosis import findings_grader, findings_groups, findings_steps
from ngrpo.diagnosis.cures import CURES
from ngrpo.diagnosis.finding import Detector, Diagnosed, Diagnosis
from ngrpo.diagnosis.log_rows import Log

DETECTORS: tuple[Detector, ...] = (
    findings_groups.group_kinds_found,
    findings_groups.wrong_answers,
    findings_groups.methods_compared,
    findings_groups.wasted_tokens,
    findings_groups.advantages_out_of_order,
    findings_grader.ungraded,
    findings_grader.box_without_answer,
    findings_grader.graded_both_ways,
    findings_grader.references_never_reached,
    findings_grader.truncation,
    findings_grader.identical_prompts,
    findings_grader.doubled_start,
    findings_steps.ratio_never_leaves_one,
    findings_steps.entropy_collapse,
    findings_steps.length_drift,
    findings_steps.reward_without_verdict,
)
"""Everything that is looked for; each is silent where the log lacks what it needs."""


def diagnose(log: Log) -> Diagnosis:
    """Returns the findings of a log, warnings first."""
    found = [finding for detector in DETECTORS for finding in detector(log)]
    found.sort(key=lambda finding: finding.level != "warning")
    diagnosed = [Diagnosed(f, CURES[f.name].of(log.kind), CURES[f.name].source) for f in found]
    steps = {row.step for row in log.rows} | {int(metrics["step"]) for metrics in log.metrics}
    return Diagnosis(log.kind, len(log.rows), len(log.groups), len(steps), diagnosed)
