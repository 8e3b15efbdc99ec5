"""Input of the grader: pairs, chat messages and metadata as users have them, as text, or the fault of one item."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from ngrpo.types import Grade

Pair = tuple[str, str]

_EXACT_INTEGERS = 1e16
"""Below it, a float without a fraction is written as an integer."""
_MOST_BITS = 14_000
"""Longest integer that Python writes in decimal digits by default (4,300 of them)."""


class _FaultError(Exception):
    """An item that cannot be graded; the message is the reason of its grade."""


def read_pairs(pairs: Iterable[Any], *, empty_references: bool = False) -> list[Pair | Grade]:
    """Returns the text of each (completion, reference) pair, or the `ungraded` grade of an item that has none.

    A completion is text or a list of chat messages (`completion_text`), a reference text or a number
    (`reference_text`).

    Args:
        pairs: any iterable.
        empty_references: whether an empty reference is allowed, as for a custom grader that does not need one.

    Raises:
        ValueError: when `pairs` is a text, a mapping, or not iterable.

    >>> read_pairs(zip(["a", None], [27.0, "b"]))
    [('a', '27'), Grade(status='ungraded', reward=0.0, answer=None, reason='the completion is NoneType, not text')]
    """
    return [_read(item, empty_references) for item in _iterated(pairs, "pairs")]


def read_metadata(metadata: Iterable[Any] | None, count: int) -> list[Any]:
    """Returns the metadata of each of `count` pairs, empty where there is none at all.

    Raises:
        ValueError: when there are more or fewer of them than pairs, or when they are not iterable.
    """
    if metadata is None:
        return [{}] * count
    tables = list(_iterated(metadata, "metadata"))
    if len(tables) != count:
        raise ValueError(f"metadata must have one item per pair, got {len(tables)} for {count} pairs")
    return tables


def plain_metadata(table: Any) -> dict[str, Any] | Grade:
    """Returns metadata as JSON carries it, values of other types as text; a grade where that is impossible.

    >>> plain_metadata({"level": 3, "set": (1, 2)})
    {'level': 3, 'set': [1, 2]}
    """
    if table is None:
        return {}
    if not isinstance(table, Mapping):
        return _ungraded(f"the metadata is {_kind(table)}, not a mapping")
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(table), default=str))
    except (TypeError, ValueError, RecursionError) as error:
        return _ungraded(f"the metadata cannot be sent: {error}"[:200])
    return plain


def completion_text(completion: Any) -> str:
    """Returns a completion's text: of a list of chat messages, that of the last assistant message, else of the last.

    Args:
        completion: text, or messages such as `{"role": "assistant", "content": TEXT}`, where the content may be a list
            of parts such as `{"type": "text", "text": TEXT}`.

    Raises:
        ValueError: for anything else; the message is the reason of the item's grade.

    >>> completion_text([{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}])
    '4'
    """
    try:
        return _completion_text(completion)
    except _FaultError as fault:
        raise ValueError(str(fault)) from None


def reference_text(reference: Any) -> str:
    """Returns a reference's text: that of a finite number is its shortest spelling.

    Raises:
        ValueError: for anything else; the message is the reason of the item's grade.

    >>> reference_text(27.0), reference_text(0.5), reference_text(" x ")
    ('27', '0.5', ' x ')
    """
    try:
        return _reference_text(reference)
    except _FaultError as fault:
        raise ValueError(str(fault)) from None


def _read(item: Any, empty_references: bool) -> Pair | Grade:
    try:
        completion, reference = _two(item)
        pair = _completion_text(completion), _reference_text(reference)
    except _FaultError as fault:
        return _ungraded(str(fault))
    if not empty_references and not pair[1].strip():
        return _ungraded("the reference is empty")
    return pair


def _two(item: Any) -> tuple[Any, Any]:
    if isinstance(item, str | bytes | Mapping):
        raise _FaultError(f"the item is {_kind(item)}, not a (completion, reference) pair")
    try:
        parts = tuple(item)
    except TypeError:
        raise _FaultError(f"the item is {_kind(item)}, not a (completion, reference) pair") from None
    if len(parts) != 2:
        raise _FaultError(f"the item has {len(parts)} parts, not a completion and a reference")
    return parts


def _completion_text(completion: Any) -> str:
    if isinstance(completion, str):
        return completion
    if not isinstance(completion, list | tuple):
        raise _FaultError(f"the completion is {_kind(completion)}, not text")
    if not completion:
        raise _FaultError("the completion is an empty list, not text or chat messages")
    if not all(isinstance(message, Mapping) and "content" in message for message in completion):
        raise _FaultError(f"the completion is a {_kind(completion)}, but not of chat messages")
    by_assistant = [message for message in completion if message.get("role") == "assistant"]
    return _content_text((by_assistant or completion)[-1]["content"])


def _content_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        raise _FaultError(f"the content of the completion's message is {_kind(content)}, not text")
    return "".join(_part_texts(content))


def _part_texts(parts: Sequence[Any]) -> Iterator[str]:
    """Yields the text of each part of a message; parts of other types, such as images, have none."""
    for part in parts:
        text = part.get("text") if isinstance(part, Mapping) and part.get("type", "text") == "text" else None
        if isinstance(part, str):
            yield part
        elif isinstance(text, str):
            yield text
        elif not isinstance(part, Mapping) or part.get("type", "text") == "text":
            raise _FaultError(f"a part of the completion's message is {_kind(part)} without text")


def _reference_text(reference: Any) -> str:
    if isinstance(reference, str):
        return reference
    if not isinstance(reference, numbers.Number) and getattr(reference, "ndim", None) == 0:
        reference = reference.item()  # an array of no dimension
    if isinstance(reference, bool) or not isinstance(reference, numbers.Real | Decimal):
        raise _FaultError(f"the reference is {_kind(reference)}, not text or a number")
    if isinstance(reference, numbers.Integral):
        if int(reference).bit_length() > _MOST_BITS:
            raise _FaultError("the reference is an integer of over 4,200 digits")
        return str(int(reference))
    if not math.isfinite(reference):
        raise _FaultError(f"the reference is {reference}, not a finite number")
    if isinstance(reference, numbers.Rational | Decimal):
        return str(reference)
    number = float(str(reference))  # the shortest spelling of its precision: 0.1 of a float32, too
    return str(int(number)) if number.is_integer() and abs(number) < _EXACT_INTEGERS else repr(number)


def _iterated(values: Any, name: str) -> Iterator[Any]:
    if isinstance(values, str | bytes | Mapping):
        raise ValueError(f"{name} must be an iterable with one item per completion, got {_kind(values)}")
    try:
        return iter(values)
    except TypeError:
        raise ValueError(f"{name} must be an iterable with one item per completion, got {_kind(values)}") from None


def _ungraded(reason: str) -> Grade:
    return Grade("ungraded", 0.0, None, reason)


def _kind(value: object) -> str:
    return type(value).__name__
