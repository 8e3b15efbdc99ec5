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

from ngrpo.advantages.baselines import *
from ngrpo.advantages.entropy import *
from ngrpo.advantages.fixed import *
from ngrpo.advantages.subsets import *
from ngrpo.advantages.virtual import *
from ngrpo.advantages.z_score import *
from ngrpo.choices import Calibration as Calibration
from ngrpo.choices import Deviation as Deviation
