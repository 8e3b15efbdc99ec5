r"""The answer inside a reference text: bare, boxed, after `####`, or declared at the end of a worked solution."""

from __future__ import annotations

import re

from ngrpo.grading.extract import last_boxed
from ngrpo.grading.markers import marked_answer

LONGEST_PLAIN_REFERENCE = 400
"""A longer text of many words is a worked solution; MATH's longest answer has 159 characters."""
MOST_WORDS = 20
"""Most words of a long text that may still be an answer, such as a large matrix."""
NO_ANSWER = "the reference declares no answer"
"""The reason of an ungraded completion whose reference is a worked solution without an answer."""

_MARKS = (r"\boxed", r"\fbox", "####", "<answer>")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")


def answer_of_reference(text: str) -> str | None:
    r"""Returns the answer of a reference text, None for a worked solution that declares none.

    That is its last box, else what follows its last `####`, else in a text that is long or has several lines what a
    marker declares ("The answer is 42."), else the text itself unless it is long and full of words.

    Args:
        text: a bare answer, a boxed one, or a worked solution such as those of MATH, GSM8K and TRL's data sets.

    >>> answer_of_reference(r"Adding, $1+1=\boxed{2}$."), answer_of_reference("6 + 6 = 12\n#### 12")
    ('2', '12')
    >>> answer_of_reference("12"), answer_of_reference("We add.\nThe answer is 12."), answer_of_reference("word " * 100)
    ('12', '12', None)
    """
    if len(text) <= LONGEST_PLAIN_REFERENCE and "\n" not in text and not any(mark in text for mark in _MARKS):
        return text.strip()
    boxed = last_boxed(text)
    if boxed is not None:
        return boxed
    _, mark, answer = text.rpartition("####")
    if mark and answer.strip():
        return answer.strip().split("\n")[0].strip()
    declared = marked_answer(text)
    if declared is not None:
        return declared
    if len(text) > LONGEST_PLAIN_REFERENCE and len(_WORD.findall(text, 0, 10_000)) > MOST_WORDS:
        return None
    return text.strip()
