"""From the tokens of a completion to its text: special tokens are left out, but for those that a config keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ngrpo.errors import ConfigError


class Detokenizer:
    """Turns completions into text.

    Args:
        tokenizer: a Hugging Face tokenizer.
        keep: special tokens that stay in the text, such as "<answer>".

    Raises:
        ConfigError: when one of them is not a special token of the tokenizer.
    """

    def __init__(self, tokenizer: Any, keep: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._dropped: frozenset[int] = frozenset()
        self._keeps = bool(keep)
        if not keep:
            return
        special = {tokenizer.convert_ids_to_tokens(token): token for token in tokenizer.all_special_ids}
        special |= {t.content: i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
        for token in keep:
            if token not in special:
                raise ConfigError(
                    f"[sampling] keep_special_tokens: '{token}' is not a special token of the tokenizer; "
                    f"special: {', '.join(sorted(special)[:20])}"
                )
        self._dropped = frozenset(token for text, token in special.items() if text not in keep)

    def texts(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Returns the text of each row of tokens."""
        if not self._keeps:
            return list(self._tokenizer.batch_decode(list(rows), skip_special_tokens=True))
        kept = [[token for token in row if token not in self._dropped] for row in rows]
        return list(self._tokenizer.batch_decode(kept, skip_special_tokens=False))
