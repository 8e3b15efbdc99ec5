"""What the variants of the study are called on docs/results.md and in its figures."""

from __future__ import annotations

REGIMES = {
    "methods": "fresh problems",
    "b": "few problems, seen often",
    "c": "a weak base model",
    "d": "groups of 32",
    "e": "a long run",
}
"""By table: the regimes on Countdown."""

SECOND_TASK = {
    "sums-a": "running sums, fresh problems",
    "sums-b": "running sums, few problems",
}
"""By table: those on the second task, whose differences have another scale."""

OF_THE_LAW = ("methods", "ladder", "laws")
"""Tables of regime (a), at equal rollouts: a method's last row of them is that of the law."""

LADDER = {
    "ngrpo": "as published",
    "clip_only": "GRPO with the asymmetric clip",
    "calibration_only": "the virtual reward in every group, clip 0.2",
    "calibration_and_clip_mixed_only": "both, all-wrong groups left out",
    "ngrpo_without_filter": "both, all-correct groups kept",
    "calibrate_all_wrong": "the virtual reward in all-wrong groups only",
    "num_virtual_2": "two virtual rewards",
    "num_virtual_4": "four virtual rewards",
    "constant": "GRPO, and -1/3 in all-wrong groups",
    "corpo": "a later rival",
    "maxrl": "a later rival: GRPO's mean, divided by the success rate",
    "rl_zvp": "a later rival: all-wrong groups by entropy",
}
"""By variant of the ladder: what it is."""

_NAMES = {
    "grpo": "GRPO",
    "ngrpo": "NGRPO",
    "ppo": "PPO",
    "psr": "PSR",
    "nsr": "NSR",
    "psr_nsr": "PSR-NSR",
    "dapo": "DAPO",
    "corpo": "CoRPO",
    "maxrl": "MaxRL",
    "rl_zvp": "RL-ZVP",
    "dr_grpo": "Dr. GRPO",
    "rloo": "RLOO",
    "asymre": "AsymRE",
    "reinforce_rej": "Reinforce-Rej",
    "pass_at_k": "Pass@k training",
    "pkpo": "PKPO",
    "sova": "SoVA",
    "gspo": "GSPO",
    "cispo": "CISPO",
    "dapo, 600 updates": "DAPO, 600 updates",
    "ngrpo, a tenth": "NGRPO, a tenth of the push",
    "ngrpo, 0": "NGRPO, no push",
    "ngrpo, 0.1": "NGRPO, 0.1 of the push",
    "ngrpo, 0.3": "NGRPO, 0.3 of the push",
    "before": "before training",
    "clip_only": "clip only",
    "calibration_only": "calibration only",
    "calibration_and_clip_mixed_only": "both, mixed groups only",
    "ngrpo_without_filter": "NGRPO without filter",
    "calibrate_all_wrong": "all-wrong calibrated",
    "num_virtual_2": "NGRPO, 2 virtual",
    "num_virtual_4": "NGRPO, 4 virtual",
}


def name_of(variant: str) -> str:
    """Returns a variant's name for readers."""
    return _NAMES.get(variant, variant)
