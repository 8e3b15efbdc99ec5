r"""Is what a completion answers the reference?

`extract` finds the answer in a box and `markers` a declared one, which `declared` reads; `references` finds the answer
of a reference text; `strict` compares, `graders` names the ways of doing so, and `pool` does it for many completions:
`worker` holds a process that can be killed, and `server` is what runs in it. `unreachable` tells beforehand which
references no completion can reach; `rewards` has reward functions for TRL and verl.
"""

from ngrpo.grading.extract import extract_answer, last_boxed
from ngrpo.grading.graders import GRADERS, fault_of
from ngrpo.grading.pool import GraderPool, compare_answers, grade, shared_pool
from ngrpo.grading.references import answer_of_reference

__all__ = [
    "GRADERS", "GraderPool", "answer_of_reference", "compare_answers", "extract_answer", "fault_of", "grade",
    "last_boxed", "shared_pool",
]  # fmt: skip
