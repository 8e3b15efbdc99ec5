"""The tables of docs/results.md, from docs/results/countdown.json; `scripts/publish_results.py` writes them.

Each stands between `<!-- table of NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from results_cells import ends, p_value, signed
from results_course import course_table
from results_names import LADDER, REGIMES, SECOND_TASK, name_of
from results_smollm2 import SMOLLM2, smollm2_table

SHOWN_KS = ("1", "8", "64")
MECHANISM = {
    "group/all_wrong": "all-wrong groups",
    "group/all_wrong_distinct": "of them with 8 different answers",
    "advantage/from_all_wrong": "advantage in all-wrong groups",
    "policy/entropy": "entropy, nats per token",
}


def with_tables(page: str, table: Mapping[str, Any]) -> str:
    """Returns the page with all tables that the results have rows for."""
    made = {"ladder": _ladder(table["differences"]), "law": _law(table["law"])}
    made["unsolvable"] = _unsolvable(table["methods"], table["differences"])
    made |= {"unsolved": _unsolved(table["unsolved"]), "course": course_table(table["course"])}
    made |= {"share": _share(table), "dose": _dose(table)}
    made |= {name: smollm2_table(table, name) for name in SMOLLM2}
    for name in dict.fromkeys(
        row["table"] for row in table["methods"] if row["table"] in (*REGIMES, *SECOND_TASK, "updates")
    ):
        made[name] = _methods(name, table["methods"], table["differences"])
    made["mechanism"] = _mechanism([row for row in table["methods"] if row["table"] == "methods"])
    for name, lines in made.items():
        if not lines:
            continue
        mark = re.compile(rf"(<!-- table of {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        place = mark.search(page)
        if place is None:
            raise SystemExit(f"docs/results.md has no place for the table of {name}")
        page = "\n".join([page[: place.end(1)], *lines, "", page[place.start(2) :]])
    return page


def _methods(table: str, methods: Sequence[Mapping[str, Any]], differences: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the table of the methods of a regime, and that of their differences to GRPO."""
    shown = [row for row in methods if row["table"] == table]
    lines = ["| | seeds | Pass@1 | Pass@8 | Pass@64 | AUC | rollouts | updates |", "|---|---|---|---|---|---|---|---|"]
    for row in shown:
        shares = " | ".join(f"{100 * row['pass_at_k'][k]:.1f}" for k in SHOWN_KS)
        area = f"{100 * row['auc']:.1f} {ends(row['auc_ci95'], '.1f')}"
        used = f"{row['rollouts']:,.0f} | {row['updates']:,.0f}"
        lines.append(f"| {name_of(row['method'])} | {len(row['seeds'])} | {shares} | {area} | {used} |")
    lines += [
        "",
        "| minus GRPO | seeds | AUC, points | p, Holm | better at k | worse at k |",
        "|---|---|---|---|---|---|",
    ]
    for row in differences:
        if row["table"] == table:
            better, worse = (", ".join(map(str, row[key])) or "none" for key in ("beats_at_k", "loses_at_k"))
            area = f"{signed(row['auc_difference'])} {ends(row['ci95'])}"
            lines.append(
                f"| {name_of(row['a'])} | {row['seeds']} | {area} | {p_value(row['holm_p'])} | {better} | {worse} |"
            )
    return lines


def _ladder(differences: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| minus GRPO | what it is | Pass@1 | Pass@64 | AUC | p of AUC, Holm |", "|---|---|---|---|---|---|"]
    for row in differences:
        if row["table"] == "ladder":
            cells = " | ".join(_cells(row))
            lines.append(f"| {name_of(row['a'])} | {LADDER[row['a']]} | {cells} | {p_value(row['holm_p'])} |")
    return lines


def _law(law: Mapping[str, Any]) -> list[str]:
    lines = ["| f(0) against | predicted | Spearman's correlation | p, permutations |", "|---|---|---|---|"]
    for statistic, test in law["tests"].items():
        name = statistic.replace("auc", "AUC").replace("pass", "Pass")
        sign = "positive" if test["predicted_sign"] > 0 else "negative"
        lines.append(f"| {name} | {sign} | {test['spearman']:+.2f} | {p_value(test['p'])} |")
    return lines


def _unsolved(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns what each method finds and loses, by thirds of the run, or nothing without the base model's samples."""
    if not rows:
        return []
    lines = [
        "| | solved after 1/3, 2/3, 3/3 | minus GRPO at the end, points | lost after 1/3, 2/3, 3/3 |",
        "|---|---|---|---|",
    ]
    for row in rows:
        found, lost = (", ".join(f"{100 * share:.1f}" for share in row[key]) for key in ("found", "lost"))
        difference = f"{signed(row['found_difference'])} {ends(row['found_ci95'])}" if "found_ci95" in row else ""
        name = "base model, 64 samples more" if row["method"] == "base" else name_of(row["method"])
        lines.append(f"| {name} | {found} | {difference} | {lost} |")
    return lines


def _unsolvable(methods: Sequence[Mapping[str, Any]], differences: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns what the push on all-wrong groups alone does to another task, or nothing before the runs are finished."""
    rows = [row for row in methods if row["table"] == "unsolvable"]
    if not rows:
        return []
    minus = {row["a"]: row for row in differences if row["table"] == "unsolvable"}
    lines = [
        "| | Pass@1 | Pass@64 | AUC | minus GRPO, points of AUC | entropy, nats per token |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        shares = " | ".join(f"{100 * row['pass_at_k'][k]:.1f}" for k in ("1", "64"))
        other = minus.get(row["method"])
        difference = f"{signed(other['auc_difference'])} {ends(other['ci95'])}" if other else ""
        area = f"{100 * row['auc']:.1f} {ends(row['auc_ci95'], '.1f')}"
        entropy = f"{row['metrics']['policy/entropy']:.2f}"
        lines.append(f"| {name_of(row['method'])} | {shares} | {area} | {difference} | {entropy} |")
    return lines


def _share(table: Mapping[str, Any]) -> list[str]:
    """Returns NGRPO minus GRPO by tier, or nothing before one is finished."""
    differences = {row["table"]: row for row in table["differences"]}
    tiers = [row for row in table["tiers"] if f"tier-{row['tier']}" in differences]
    lines = [
        "| all-wrong groups at the start | problems | Pass@1 | Pass@64 | AUC | p of AUC |",
        "|---|---|---|---|---|---|",
    ]
    for row in tiers:
        difference = differences[f"tier-{row['tier']}"]
        start = f"{100 * row['all_wrong']:.1f} % {ends(row['all_wrong_ci95'], '.1f')}"
        lines.append(
            f"| {start} | {row['problems']:,} | {' | '.join(_cells(difference))} | {p_value(difference['p'])} |"
        )
    return lines if tiers else []


def _dose(table: Mapping[str, Any]) -> list[str]:
    """Returns NGRPO and the control minus GRPO by tier and weight, or nothing before a tier is finished."""
    starts = {row["tier"]: f"{100 * row['all_wrong']:.0f} %" for row in table["tiers"]}
    by_weight: dict[tuple[str, str], dict[str, str]] = {}
    for row in table["differences"]:
        name, _, tier = row["table"].partition("-")
        if name == "dose":
            method, _, given = row["a"].partition(", ")
            weight = given or "1"
            cells = [starts[tier], name_of(method), weight, *_cells(row), p_value(row["holm_p"])]
            by_weight.setdefault((tier, method), {})[weight] = f"| {' | '.join(cells)} |"
    lines = [rows[weight] for rows in by_weight.values() for weight in sorted(rows, key=float)]
    headings = ["all-wrong groups at the start", "method", "weight", "Pass@1", "Pass@64", "AUC", "p of AUC, Holm"]
    return [f"| {' | '.join(headings)} |", "|" + "---|" * len(headings), *lines] if lines else []


def _cells(difference: Mapping[str, Any]) -> list[str]:
    """Returns a difference's Pass@1, Pass@64 and AUC with their intervals."""
    cells = [
        f"{signed(difference['pass_at_k_difference'][k])} {ends(difference['pass_at_k_ci95'][k])}" for k in ("1", "64")
    ]
    return [*cells, f"{signed(difference['auc_difference'])} {ends(difference['ci95'])}"]


def _mechanism(methods: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| mean over the run | " + " | ".join(name_of(row["method"]) for row in methods) + " |"]
    lines.append("|---|" + "---|" * len(methods))
    for metric, title in MECHANISM.items():
        values = [row["metrics"][metric] for row in methods]
        cells = [f"{value:.2f}" if metric == "policy/entropy" else f"{100 * value:.0f} %" for value in values]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines
