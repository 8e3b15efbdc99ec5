"""Findings about the grader, the prompts and how completions end."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from ngrpo.diagnosis.finding import Found, share
from ngrpo.diagnosis.log_rows import Log, LogRow

UNGRADED, TRUNCATED, NEVER_ENDS, SAME_PROMPT, LEAST_ROWS = 0.02, 0.1, 0.95, 0.5, 16
AGREED, LEAST_SAMPLES, LEAST_AGREEMENTS = 0.9, 8, 0.005
DOUBLED = re.compile(
    r"\s*(<s>|<bos>|<\|begin_of_text\|>|<\|startoftext\|>|<\|endoftext\|>|\[BOS\]|<\|im_start\|>)\s*\1"
)


def ungraded(log: Log) -> Iterator[Found]:
    """Completions that could not be graded."""
    rows = [row for row in log.rows if row.reward is None]
    if len(rows) > UNGRADED * len(log.rows) and rows:
        number = share(len(rows), len(log.rows))
        text = f"{number:.1%} of completions are ungraded: they are no evidence, and their tokens were sampled in vain"
        yield Found("ungraded", "warning", number, text, shown_rows(rows))


def box_without_answer(log: Log) -> Iterator[Found]:
    r"""Completions with a complete \boxed{...} for which the grader found no answer."""
    from ngrpo.grading.extract import last_boxed

    asked = [row for row in log.rows if row.has_answers and row.answer is None and "boxed" in (row.completion or "")]
    rows = [row for row in asked if last_boxed(row.completion or "")]
    if rows:
        number = share(len(rows), len(log.rows))
        text = f"{len(rows):,} completions hold a box, and the grader found no answer in them"
        yield Found("box-without-answer", "warning", number, text, shown_rows(rows))


def graded_both_ways(log: Log) -> Iterator[Found]:
    """The same answer to the same problem, once correct and once wrong."""
    seen: dict[tuple[str, str], dict[bool, LogRow]] = {}
    for row in log.rows:
        answer = row.told_answer()
        if answer is not None and row.reward is not None and answer.strip():
            seen.setdefault((row.problem, answer.strip()), {})[log.correct(row)] = row
    both = [rows for rows in seen.values() if len(rows) == 2]
    if both:
        text = f"{len(both):,} answers were graded correct once and wrong once for the same problem"
        evidence = tuple(
            f"rows {b[True].line} (correct), {b[False].line} (wrong): {b[True].told_answer()}" for b in both[:3]
        )
        yield Found("graded-both-ways", "warning", share(len(both), len(seen)), text, evidence)


def references_never_reached(log: Log) -> Iterator[Found]:
    """Problems whose reference cannot be read, or that nearly all completions answer in the same other way."""
    from ngrpo.grading.unreachable import reference_fault

    by_problem: dict[str, list[LogRow]] = {}
    for row in log.rows:
        if row.reference and row.reward is not None:
            by_problem.setdefault(row.problem, []).append(row)
    found, agreements = [], 0
    for rows in by_problem.values():
        if any(map(log.correct, rows)):
            continue
        answer, times = Counter(row.told_answer() for row in rows).most_common(1)[0]
        damaged = reference_fault(rows[0].reference or "") if log.mathematical else None
        agreed = len(rows) >= LEAST_SAMPLES and times >= AGREED * len(rows) and bool(answer)
        if damaged or agreed:
            why = damaged or f"{times} of {len(rows)} completions answer {str(answer)[:40]!r}"
            found.append(f"row {rows[0].line}: reference {str(rows[0].reference)[:60]!r}: {why}")
            agreements += not damaged
    # A few groups of a long run agree on a wrong answer by chance.
    if len(found) > agreements or agreements >= LEAST_AGREEMENTS * len(by_problem) > 0:
        number = share(len(found), len(by_problem))
        text = f"{len(found):,} of {len(by_problem):,} problems have a reference that no completion reaches"
        yield Found("references-never-reached", "warning", number, text, tuple(found[:3]))


def truncation(log: Log) -> Iterator[Found]:
    """Completions that were cut at the limit of tokens; where nearly all are, the model writes no end token."""
    told = [row for row in log.rows if row.truncated is not None]
    cut = [row for row in told if row.truncated]
    number, evidence, count = share(len(cut), len(told)), shown_rows(cut), len(told)
    if not told and (logged := log.series("completion/truncated")):
        number, count = sum(value for _, value in logged) / len(logged), LEAST_ROWS
        evidence = (f"steps {logged[0][0]} to {logged[-1][0]}",)
    if count < LEAST_ROWS:
        return
    # verl counts a completion whose end token is the last one allowed, too.
    if number >= NEVER_ENDS and (told or log.kind != "verl"):
        text = f"{number:.1%} of completions reach the limit of tokens: the model hardly ever writes its end token"
        yield Found("no-end-token", "warning", number, text, evidence)
    elif number >= TRUNCATED:
        text = f"{number:.1%} of completions reach the limit of tokens; what is cut there is mostly graded as wrong"
        yield Found("truncation", "warning", number, text, evidence)


def identical_prompts(log: Log) -> Iterator[Found]:
    """Different problems with the same prompt: a template without the question."""
    prompts: dict[str, set[str]] = {}
    for row in log.rows:
        if row.prompt is not None:
            prompts.setdefault(row.prompt, set()).add(f"{row.problem}\0{row.reference}")
    problems = sum(map(len, prompts.values()))
    shared = max(prompts.items(), key=lambda item: len(item[1]), default=("", set[str]()))
    if len(shared[1]) >= 4 and len(shared[1]) >= SAME_PROMPT * problems:
        number = share(len(shared[1]), problems)
        text = f"{len(shared[1]):,} problems have the same prompt: the template leaves the question out"
        yield Found("identical-prompts", "warning", number, text, (shared[0][:80],))


def doubled_start(log: Log) -> Iterator[Found]:
    """Prompts that begin with their start token twice: template and tokenizer both add it."""
    told = [row for row in log.rows if row.prompt is not None]
    rows = [row for row in told if DOUBLED.match(row.prompt or "")]
    if rows:
        number = share(len(rows), len(told))
        text = f"{number:.0%} of prompts begin with their start token twice"
        evidence = tuple(f"row {row.line}: {(row.prompt or '')[:60]}" for row in rows[:3])
        yield Found("doubled-start-token", "warning", number, text, evidence)


def shown_rows(rows: list[LogRow], most: int = 3) -> tuple[str, ...]:
    """Returns lines that name rows, with the end of their completions."""
    return tuple(f"row {row.line}, step {row.step}: ...{(row.completion or '')[-60:]}" for row in rows[:most])
