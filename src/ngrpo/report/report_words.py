"""The page's summary in words: what was run, how many groups were dead, what came out."""

from __future__ import annotations

from collections.abc import Sequence

from ngrpo.report.figure import Cell, Table, interval_text, percent, points
from ngrpo.report.outcome import Estimated, Outcome, PairedDifference, Result
from ngrpo.report.reported_run import ReportedRun
from ngrpo.report.rollout_scan import number
from ngrpo.report.step_series import metric_points
from ngrpo.report.visible_text import visible_line


def summary_of_runs(runs: Sequence[ReportedRun], outcomes: Sequence[Outcome]) -> list[str]:
    """Returns the summary's paragraphs."""
    return [text for text in (_what_ran(runs), _what_was_dead(runs), *summary_of_outcomes(outcomes)) if text]


def run_table(runs: Sequence[ReportedRun]) -> Table:
    """Returns a row for each run: what it is and how much it used."""
    headings = ["run", "method", "task", "model", "steps", "completions", "updates", "seed", "started"]
    rows = []
    for run in runs:
        last = run.metrics[-1] if run.metrics else {}
        sampled = number(last.get("total/rollouts_sampled"))
        completions = run.scan.rollouts if sampled is None else int(sampled)
        planned = _planned_steps(run)
        steps = f"{run.last_step:,}" + (f" of {int(planned):,}" if planned is not None else "")
        texts = [run.name, run.method, _text(run, "task", "name"), _text(run, "model", "path")]
        seed = visible_line(run.record.get("seed", "—"), 20)
        numbers = [steps, f"{completions:,}", _whole(last.get("total/updates")), seed]
        started = visible_line(str(run.record.get("started", "—"))[:16].replace("T", " "))
        rows.append([*(Cell(text, number=False) for text in texts), *map(Cell, numbers), Cell(started, number=False)])
    return Table("", headings, rows)


def differences_sentence(differences: Sequence[PairedDifference], chance: str) -> str:
    """Returns what paired differences of AUC are, with their intervals, and which of them `chance` does not explain."""
    known = [(difference, difference.auc) for difference in differences if difference.auc is not None]
    if not known:
        return ""
    told = []
    for difference, auc in known:
        interval = "" if auc.interval is None else f" {interval_text(*auc.interval, signed=True)}"
        told.append(f"{difference.name} {points(auc.value)}{interval}")
    shown = [d.name for d, auc in known if auc.interval is not None and not auc.interval[0] <= 0 <= auc.interval[1]]
    if len(shown) == len(known):
        verdict = f"{chance} does not explain it" if len(known) == 1 else f"{chance} explains none of them"
    elif shown:
        verdict = f"{chance} does not explain {', '.join(shown)}"
    else:
        verdict = (
            "the interval holds 0, so no difference is shown"
            if len(known) == 1
            else "all hold 0: no difference is shown"
        )
    return f"Paired differences, in points: {'; '.join(told)}: {verdict}."


def _planned_steps(run: ReportedRun) -> float | None:
    """Returns how many steps a run was to take, None where that is unknown or another limit has ended it."""
    table, last = run.table("run"), run.metrics[-1] if run.metrics else {}
    for name in ("rollouts", "tokens"):
        limit, used = number(table.get(f"max_{name}")), number(last.get(f"total/{name}_sampled"))
        if limit and used is not None and used >= limit:
            return None
    return number(table.get("steps"))


def _what_ran(runs: Sequence[ReportedRun]) -> str:
    tasks = list(dict.fromkeys(_text(run, "task", "name") for run in runs))
    models = list(dict.fromkeys(_text(run, "model", "path") for run in runs))
    told = []
    for run in runs[:6]:
        planned = _planned_steps(run)
        unfinished = planned is not None and run.last_step < planned
        steps = f"{run.last_step:,} of {int(planned or 0):,} steps" if unfinished else _steps(run.last_step)
        named = run.name if run.name == run.method else f"{run.name} ({run.method})"
        told.append(f"{named}, {steps}")
    more = f" and {len(runs) - 6} more" if len(runs) > 6 else ""
    noun = "One run" if len(runs) == 1 else f"{len(runs)} runs"
    return f"{noun} of {' and '.join(models[:3])} on {' and '.join(tasks[:3])}: {'; '.join(told)}{more}."


def _what_was_dead(runs: Sequence[ReportedRun]) -> str:
    told = []
    for run in runs[:6]:
        groups = sum(step.groups for step in run.steps.values())
        if groups:
            dead = sum(step.dead for step in run.steps.values()) / groups
            wrong = sum(step.kinds.get("all_wrong", 0) for step in run.steps.values()) / groups
            told.append(f"{run.name} {percent(dead)} of {groups:,} ({percent(wrong)} all-wrong)")
        elif nonzero := [value for _, value in metric_points(run.metrics, "advantage/nonzero")]:
            idle = 1 - sum(nonzero) / len(nonzero)
            told.append(f"{run.name}: groups are not logged, {percent(idle)} of completions had no advantage")
    return f"Dead groups, in which no completion carried gradient: {'; '.join(told)}." if told else ""


def summary_of_outcomes(outcomes: Sequence[Outcome]) -> list[str]:
    """Returns a paragraph on each of the first tasks: every AUC, and the first paired differences."""
    paragraphs = []
    for outcome in outcomes[:4]:
        known = [result for result in outcome.results if result.auc is not None][:6]
        if not known:
            continue
        listed = "; ".join(_auc(result) for result in known)
        text = f"AUC of Pass@k on {outcome.task}: {listed}."
        chance = f"chance over {'seeds and problems' if outcome.seeds else 'problems'}"
        sentences = [differences_sentence((outcome.differences or outcome.to_base)[:8], chance)]
        if not outcome.seeds and len(known) > 1:
            sentences.append("Intervals are over problems; another training seed would move the results too.")
        paragraphs.append(" ".join([text, *filter(None, sentences)]))
    return paragraphs


def _auc(result: Result) -> str:
    auc = result.auc or Estimated(0.0)
    interval = "" if auc.interval is None else f" {interval_text(*auc.interval)}"
    return f"{result.name} {percent(auc.value)}{interval}"


def _text(run: ReportedRun, table: str, key: str) -> str:
    return visible_line(run.table(table).get(key, "unknown"), 80)


def _steps(count: int) -> str:
    return f"{count:,} step{'' if count == 1 else 's'}"


def _whole(value: object) -> str:
    found = number(value)
    return "—" if found is None else f"{int(found):,}"
