"""Rows of verl's transfer queue as our groups: completions with their grades, whole groups in the order of samples.

Needs neither verl nor Ray: a row is a key `UID_SAMPLE_OUTPUT` and, for each field, an entry of a sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ngrpo.adapters.verl_groups import uid_of
from ngrpo.engines.verl.verl_files import problem_of
from ngrpo.types import Completion, Grade, Group, Problem, Rollout

FIELDS = ("prompts", "responses", "rollout_log_probs", "extra_fields", "reward_model", "extra_info")
"""What `groups_of` reads of a row."""


def groups_of(
    keys: Sequence[str],
    fields: Mapping[str, Sequence[Any]],
    *,
    group_size: int,
    tokenizer: Any,
    stop_tokens: frozenset[int],
) -> list[Group]:
    """Returns the groups of rows, in the order of their first row, each with `group_size` rollouts.

    A sample whose row is missing, because sampling or grading it failed, is there as ungraded and without a token.

    Args:
        keys: a key per row.
        fields: for each name in FIELDS an entry per row; token fields are tensors [L].
        group_size: samples per problem.
        tokenizer: decodes completions, as verl's reward manager does.
        stop_tokens: those that end a completion.
    """
    found: dict[str, dict[int, Rollout]] = {}
    prompts: dict[str, Any] = {}
    for place, key in enumerate(keys):
        row = {name: fields[name][place] for name in FIELDS}
        uid, sample = uid_of(key), int(key.split("_")[1])
        found.setdefault(uid, {})[sample] = _rollout(row, sample, tokenizer, stop_tokens)
        prompts.setdefault(uid, row["prompts"])
    groups = []
    for uid, rollouts in found.items():
        problem = next(iter(rollouts.values())).problem
        whole = tuple(rollouts.get(sample) or missing_rollout(problem, sample) for sample in range(group_size))
        tokens = prompts[uid].numpy().astype(np.int64)
        groups.append(Group(problem, tokens, whole, tokenizer.decode(tokens.tolist())))
    return groups


def missing_rollout(problem: Problem, sample: int) -> Rollout:
    """Returns what stands for a completion that verl did not deliver: ungraded, so that nothing is concluded of it."""
    nothing = Completion("", np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32), "length")
    return Rollout(problem, sample, nothing, Grade("ungraded", 0.0, reason="verl delivered no completion"))


def _rollout(row: Mapping[str, Any], sample: int, tokenizer: Any, stop_tokens: frozenset[int]) -> Rollout:
    tokens = row["responses"].numpy().astype(np.int64)
    completion = Completion(
        text=tokenizer.decode(tokens.tolist(), skip_special_tokens=True),
        tokens=tokens,
        logprobs=row["rollout_log_probs"].float().numpy(),
        finish_reason="stop" if len(tokens) and int(tokens[-1]) in stop_tokens else "length",
    )
    told = row["extra_fields"]["reward_extra_info"]
    reward = 0.0 if told["status"] == "ungraded" else float(told["score"])  # verl's score of such is NaN
    grade = Grade(told["status"], reward, told["pred"] or None, told["reason"])
    problem = problem_of(row["extra_info"]["problem"], row["reward_model"]["ground_truth"])
    return Rollout(problem, sample, completion, grade)
