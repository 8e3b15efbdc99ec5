r"""Grading of mathematical answers: is what stands in the last ``\boxed{...}`` the reference?

`extract` finds the answer, `normalize` gives answers one spelling and plain numbers their exact value,
`equivalence` compares, and `pool` does so for many completions, with math-verify in a `worker` process that
can be killed.
"""

from ngrpo.grading.extract import extract_answer, last_boxed
from ngrpo.grading.policies import POLICIES, PolicyName
from ngrpo.grading.pool import GraderPool, grade, shared_pool

__all__ = ["POLICIES", "GraderPool", "PolicyName", "extract_answer", "grade", "last_boxed", "shared_pool"]
