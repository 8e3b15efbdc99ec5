"""Reinforcement learning from verifiable rewards in which groups of only wrong answers teach something (NGRPO).

Importing this package loads nothing heavy. The parts, each importable by itself:

    ngrpo.advantages, ngrpo.losses, ngrpo.filters, ngrpo.diagnostics    pure functions on tensors
    ngrpo.methods                                                       each method with its published settings
    ngrpo.tasks, ngrpo.grading, ngrpo.sampling                          problems, verdicts, completions
    ngrpo.training, ngrpo.evaluation, ngrpo.reports                     the loop, Pass@k, run folders
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("ngrpo")
except PackageNotFoundError:  # run from a source folder that was never installed
    __version__ = "0+unknown"
