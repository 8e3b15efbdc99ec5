"""Numbers in English words."""

from __future__ import annotations

import re

_UNITS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen""".split()  # noqa: SIM905
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()  # noqa: SIM905
_VALUES = {word: value for value, word in enumerate(_UNITS)} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}
SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
MOST_WORDS = 12


def number_in_words(text: str) -> int | None:
    """Returns the number that words name, or None.

    >>> number_in_words("forty-two"), number_in_words("one hundred and five"), number_in_words("two three")
    (42, 105, None)
    """
    words = [word for word in re.split(r"[\s-]+", text.lower().strip()) if word != "and"]
    if not 0 < len(words) <= MOST_WORDS:
        return None
    total, below, last = 0, 0, 10**15
    for word in words:
        if word in SCALES:
            scale = SCALES[word]
            if below == 0 or (scale > 100 and scale >= last):
                return None
            if scale == 100:
                below *= 100
            else:
                total, below, last = total + below * scale, 0, scale
        elif word in _VALUES and _fits(below, _VALUES[word]):
            below += _VALUES[word]
        else:
            return None
    return total + below


def _fits(below: int, value: int) -> bool:
    """Whether a word may follow those before it: `twenty two` and `hundred two` are numbers, `two three` is none."""
    rest = below % 100
    return rest == 0 if value >= 10 else rest == 0 or (rest % 10 == 0 and rest >= 20 and value > 0)
