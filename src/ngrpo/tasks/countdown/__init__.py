r"""Countdown: combine a few numbers with + - * /, each exactly once, to reach a target.

Every problem can be solved: its target is the value of a random expression over its numbers. The shipped
model reads `2 7 9 12 = 23 :` and answers in postfix, `2 9 * 12 + 7 -`, a token per number; with
`notation = "infix"` a model of the hub is asked in plain English and answers in `\boxed{}`.
"""

from ngrpo.tasks.countdown.countdown_task import Countdown as Countdown
