"""Arithmetic for small language models: sums, products and two-step stories after three solved examples.

A problem of tier `products` is `37*6=` after the lines `12*4=48`, `23*3=69` and `51*5=255`; the first number of the
completion is graded, so a few tokens per completion are enough.
"""

from ngrpo.tasks.arithmetic.arithmetic_task import Arithmetic as Arithmetic
