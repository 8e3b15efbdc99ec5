"""Why a step has fewer groups than asked for, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from ngrpo.config import Config
from ngrpo.training.collect import Collected


def shortfalls(collected: Collected, config: Config, step: int) -> Iterator[tuple[str, str]]:
    """Yields each reason for which problems were left out or the batch is not full, as a key and a line.

    Args:
        collected: the groups of the step.
        config: its limits.
        step: counted from 1.
    """
    sampling, method = config.sampling, config.method
    wanted, batch = sampling.problems_per_step, len(collected.batch)
    if collected.overlong:
        yield (
            "overlong",
            f"step {step}: {collected.overlong} problems left out, their prompts are longer than "
            f"{sampling.max_prompt_tokens} tokens ([sampling] max_prompt_tokens)",
        )
    if batch == wanted or not (method.refill or collected.no_problem_left):
        return
    why = "no problem is left" if collected.no_problem_left else "[method] max_refill_factor is reached"
    yield (
        why,
        f"step {step}: {batch} of {wanted} groups after sampling {len(collected.sampled)} problems: filter "
        f"'{method.filter}' dropped the others, and {why}",
    )
