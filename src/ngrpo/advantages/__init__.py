"""One pure function per estimator: rewards of groups [P, G] to one advantage per completion [P, G].

    z_score      grpo, dr_grpo, rloo            baselines    corpo, maxrl, asymre
    virtual      ngrpo, constant, sova          subsets      pass_at_k, pkpo
    fixed        psr, nsr, w_reinforce,         entropy      rl_zvp, one advantage per token
                 reinforce_rej

All share four promises. `valid` marks the completions that could be graded: the others leave the statistics and get
exactly 0. Statistics are taken in float64 on the CPU, so that every device gives the same bits. The result has the
dtype and device of `rewards` (float32 for integers) and no gradient. Any finite reward gives a finite advantage: what
the dtype cannot hold is clamped to its largest number.
"""

from ngrpo.advantages.baselines import asymre_advantages, corpo_advantages, maxrl_advantages
from ngrpo.advantages.entropy import rl_zvp_advantages
from ngrpo.advantages.fixed import nsr_advantages, psr_advantages, reinforce_rej_advantages, w_reinforce_advantages
from ngrpo.advantages.subsets import pass_at_k_advantages, pkpo_advantages
from ngrpo.advantages.virtual import constant_advantages, ngrpo_advantages, sova_advantages
from ngrpo.advantages.z_score import dr_grpo_advantages, grpo_advantages, rloo_advantages
from ngrpo.choices import Calibration, Deviation

__all__ = [
    "Calibration",
    "Deviation",
    "asymre_advantages",
    "constant_advantages",
    "corpo_advantages",
    "dr_grpo_advantages",
    "grpo_advantages",
    "maxrl_advantages",
    "ngrpo_advantages",
    "nsr_advantages",
    "pass_at_k_advantages",
    "pkpo_advantages",
    "psr_advantages",
    "reinforce_rej_advantages",
    "rl_zvp_advantages",
    "rloo_advantages",
    "sova_advantages",
    "w_reinforce_advantages",
]
