r"""Grading: is what a completion answers the reference?

`extract` finds the answer, `normalize` gives answers one spelling and plain numbers their exact value, `equivalence`
compares, `policies` names the ways of doing so, and `pool` does it for many completions: `worker` holds a process that
can be killed, and `server` is what runs in it. `references` tells beforehand which references nobody could reach.
"""

from ngrpo.grading.extract import extract_answer, last_boxed
from ngrpo.grading.policies import POLICIES, fault_of
from ngrpo.grading.pool import GraderPool, grade, shared_pool

__all__ = [
    "POLICIES", "GraderPool", "extract_answer", "fault_of", "grade", "last_boxed", "shared_pool",
]  # fmt: skip
