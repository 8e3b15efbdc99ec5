"""Stop strings: finding the first token with which a completion's text contains one of them.

A stop string may begin and end inside of tokens, and may be spread over several. Only the completion's text counts, not
that of the prompt; special tokens that are left out of the text are no part of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ngrpo.sampling.detokenizer import Detokenizer

_TORN = "�"
"""What the bytes of a character become as long as some of them are missing."""


def ended(text: str, stops: Sequence[str], *, keep: bool) -> tuple[str, bool]:
    """Returns a text up to its first stop string, with the string if `keep`, and whether there is one.

    Of several that end at the same token, the one that begins first counts; of those the longest.

    >>> ended("a = 1 ;; b", [";", ";;"], keep=False), ended("a;b", [";"], keep=True), ended("a", ["b"], keep=True)
    (('a = 1 ', True), ('a;', True), ('a', False))
    """
    found = [(place, -len(stop)) for stop in stops if (place := text.find(stop)) >= 0]
    if not found:
        return text, False
    place, length = min(found)
    return text[: place - length if keep else place], True


class StopSearch:
    """Looks for stop strings in completions that grow by a token at a time.

    The text of a completion is decoded from a few tokens before its end on, since decoding all of it at each token
    would take quadratic time; what is found is confirmed on the whole text.

    Args:
        stops: the stop strings, at least one.
        detokenizer: turns tokens into text.
    """

    def __init__(self, stops: Sequence[str], detokenizer: Detokenizer) -> None:
        self._stops, self._detokenizer = tuple(stops), detokenizer
        self._reach = max(map(len, stops)) - 1
        self._states: dict[int, _Row] = {}

    def hits(self, rows: Sequence[int], tokens: Sequence[int]) -> list[bool]:
        """Adds a token to each of these completions; returns whether its text now contains a stop string.

        Args:
            rows: numbers of the completions, each once.
            tokens: one for each of them.
        """
        states = [self._states.setdefault(row, _Row()) for row in rows]
        for state, token in zip(states, tokens, strict=True):
            state.tokens.append(token)
        texts = self._detokenizer.texts([state.tokens[state.start :] for state in states])
        suspects = [state for state, text in zip(states, texts, strict=True) if self._has_stop(state, text)]
        self._advance(list(zip(states, texts, strict=True)))
        whole = self._detokenizer.texts([state.tokens for state in suspects]) if suspects else []
        sure = {
            id(state) for state, text in zip(suspects, whole, strict=True) if any(stop in text for stop in self._stops)
        }
        return [id(state) in sure for state in states]

    def _has_stop(self, state: _Row, text: str) -> bool:
        end = state.before + text[len(state.known) :]
        return any(stop in end for stop in self._stops)

    def _advance(self, texts: Sequence[tuple[_Row, str]]) -> None:
        """Takes in the texts of the tokens from `start` on, where they end with a whole character."""
        moved = []
        for state, text in texts:
            new = text[len(state.known) :]
            if not new or new.endswith(_TORN):
                continue
            state.before = (state.before + new)[-self._reach :] if self._reach else ""
            # The last tokens are read once more: a tokenizer may decode the first token of a text in another way.
            state.start, state.read = state.read, len(state.tokens)
            moved.append(state)
        known = self._detokenizer.texts([state.tokens[state.start : state.read] for state in moved]) if moved else []
        for state, text in zip(moved, known, strict=True):
            state.known = text


class _Row:
    """A completion: its tokens; the text of those in start:read, `known`; and the last characters before that end."""

    __slots__ = ("before", "known", "read", "start", "tokens")

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.start = self.read = 0
        self.known = self.before = ""
