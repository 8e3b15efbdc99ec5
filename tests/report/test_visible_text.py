"""What is shown of any text: nothing hidden, both ends of a long one."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from ngrpo.report.visible_text import visible, visible_line

ANY = st.text(st.characters(codec=None), max_size=60)


@given(ANY)
def test_no_control_format_or_separator_is_left(text: str):
    shown = visible(text)
    hidden = {c for c in shown if unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs")} - {"\n", "\t"}
    assert hidden == set()
    shown.encode("utf-8")


@given(
    st.sampled_from(
        "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u200b\ufeff\u2060\U000e0041"
    )
)
def test_marks_of_direction_and_invisible_letters_are_named(character: str):
    assert visible(f"a{character}b") == f"a⟨U+{ord(character):04X}⟩b"


@given(ANY, st.integers(3, 30))
def test_a_long_text_keeps_both_ends_and_counts_the_rest(text: str, most: int):
    shown = visible(text, most)
    if len(text) <= most:
        assert shown == visible(text)
    else:
        head, tail = text[: most - most // 3], text[len(text) - most // 3 :]
        assert shown == f"{visible(head)}\n[… {len(text) - most:,} characters left out …]\n{visible(tail)}"


@given(ANY, st.integers(1, 30))
def test_a_line_is_one_line(text: str, most: int):
    line = visible_line(text, most)
    assert "\n" not in line
    assert "\t" not in line
    if len(text) <= most and text.isprintable():
        assert line == text
