r"""Answers in words, and the words around an answer: sentences, conditions, labels, ordinal numbers."""

from __future__ import annotations

import re
from itertools import pairwise

_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_WORDS = re.compile(r"[A-Za-z][A-Za-z'\- ]*")
_ARTICLES = re.compile(r"\b(?:the|an?|only|any|all)\b")
_SENTENCE = re.compile(
    r"(?:the|so|thus|hence|therefore|it|there)\b.*\b(?:is|are|equals)\b(?:\s+exactly)?:?\s*(.+)", re.I | re.S
)
_CONDITION = re.compile(
    r"[,;]?\s*(?:\\text\{\s*[,(]?\s*|\b)(?:for (?:all|some|any|every|each|(?=(?:an )?integer|[a-z] (?:in|an) ))"
    r"|for\s*\}?\s*(?=[a-zA-Z]\s*(?:\\[lg]e|[<>]|\\in))|where|with|such that|when|as long as|provided)\b.*",
    re.S,
)
_CONDITION_HINT = re.compile(r"for|where|with|such|when|as long|provided|integer|\\in(?![a-z])")
_BRACKETED_CONDITION = re.compile(
    r"\s*(?:\((?=[^()]*(?:integer|\\in))|\\text\{\s*\((?=[^(){}]*integer)|,\s*)(?:\\text\{\s*)?\(?"
    r"((?:[a-zA-Z],?)+)\s*(?:\\text\{)?\s*(?:is|are) (?:an? |any )?integers?\s*\)?\}?\)?",
    re.S,
)
_MEMBERSHIP = re.compile(
    r"(?:[,;]\s*|\s*\()\s*(?:\\forall\s*)?((?:[a-zA-Z],?)+)\s*\\in\s*(?:\\mathbb\{?\s*)?[ZNQRC]\}?(?:\^[+*]|_[+*0-9]|\^\{[+*]\})*\)?"
)
_ADVERB = re.compile(r"\\text\{\s*(?:only|just|exactly|about|approximately)\s*\}", re.I)
_ORDINAL = re.compile(
    r"([0-9]+)(?:st|nd|rd|th|\^\{?(?:\\text\{)?(?:st|nd|rd|th)\}{0,2}|\\text\{\s*(?:st|nd|rd|th)\s*\})(?![a-z])"
)
_LABEL = re.compile(r"(?:\\text\{)?([A-Za-z][A-Za-z0-9' ]*[A-Za-z0-9]|[A-Z])\s*:\s*\}?\s*(?=[^\s])")
_PART = re.compile(r"(?:\\text\{\s*[;,]?\s*)?(?<![A-Za-z0-9])\(?([a-h]|i{1,3}|iv|[1-9])\)\s*\}?\s*(?=[^\s,)])")
_NUMBERINGS = (tuple("abcdefgh"), ("i", "ii", "iii", "iv"), tuple("123456789"))
_BOOLEAN = re.compile(r"(yes|no|true|false)(?:[.,;:!].*)?", re.I | re.S)
_JOINT = re.compile(r"[,;&]|and|or", re.I)
_MEANING = {
    "infinity": r"\infty", "positive infinity": r"\infty", "plus infinity": r"\infty", "inf": r"\infty",
    "negative infinity": r"-\infty", "minus infinity": r"-\infty", "dne": r"\text{does not exist}",
    "doesn't exist": r"\text{does not exist}", "limit does not exist": r"\text{does not exist}",
    "是": r"\text{yes}", "否": r"\text{no}", "对": r"\text{true}", "错": r"\text{false}", "正确": r"\text{true}",
    "错误": r"\text{false}", "无解": r"\emptyset", "空集": r"\emptyset", "不存在": r"\text{does not exist}",
    "全体实数": r"\mathbb{R}", "all real numbers": r"\mathbb{R}", "all reals": r"\mathbb{R}",
    "real numbers": r"\mathbb{R}", "reals": r"\mathbb{R}", "real number": r"\mathbb{R}",
    "every real number": r"\mathbb{R}",
    "set of all real numbers": r"\mathbb{R}", "set of real numbers": r"\mathbb{R}", "all real values": r"\mathbb{R}",
    "all real number": r"\mathbb{R}", "all integers": r"\mathbb{Z}", "integers": r"\mathbb{Z}",
    "set of integers": r"\mathbb{Z}", "set of all integers": r"\mathbb{Z}",
}  # fmt: skip
_NOTHING = re.compile(
    r"(?:there (?:is|are|exists?) )?(?:no|zero) (?:such |real |integer |valid |possible |positive |common )*"
    r"(?:solutions?|roots?|values?|numbers?|integers?|pairs?|triples?|functions?)(?: exists?)?"
    r"|empty set|null set|empty|none|no such [a-z ]+"
)


def unmarked(answer: str) -> str:
    r"""Returns an answer with its words as if they were not marked as text.

    >>> unmarked(r"\text{July 4}")
    'July 4'
    """
    return _TEXT.sub(r"\1", answer) if r"\text{" in answer else answer


def meaning_of(answer: str) -> str:
    r"""Returns the mathematics that words stand for, else the answer itself.

    >>> meaning_of(r"\text{All real numbers}"), meaning_of("infinity"), meaning_of(r"\text{no solution}")
    ('\\mathbb{R}', '\\infty', '\\emptyset')
    """
    if not answer or len(answer) > 80 or answer[-1] in ")]0123456789":
        return answer
    plain = unmarked(answer).strip().rstrip(".").casefold()
    plain = " ".join(re.sub(r"^the ", "", plain).split())
    known = _MEANING.get(plain)
    if known is None and plain.startswith(("any ", "a ")):
        known = _MEANING.get(plain.partition(" ")[2])
    if known:
        return known
    return r"\emptyset" if _NOTHING.fullmatch(plain) or answer == r"\{\}" else answer


def words_of(answer: str) -> str | None:
    r"""Returns the words of an answer that consists of nothing else, in lower case, or None.

    >>> words_of(r"\text{Not enough information}"), words_of("x+1"), words_of(r"\text{C}")
    ('not enough information', None, 'C')
    """
    plain = _TEXT.sub(lambda found: f" {found[1]} ", answer).replace('"', "").strip().rstrip(".")
    if re.fullmatch("[A-Za-z]", plain):
        return plain if plain != answer else None
    if not _WORDS.fullmatch(plain) or (plain == answer and max(map(len, plain.split())) < 3):
        return None
    return " ".join(_ARTICLES.sub(" ", plain.lower().replace("-", " ")).split())


def boolean(answer: str) -> str | None:
    r"""Returns yes, no, true or false where an answer begins with it; `no solution` does not.

    >>> boolean(r"\text{Yes, it is.}"), boolean("No"), boolean("no solution")
    ('yes', 'no', None)
    """
    found = _BOOLEAN.fullmatch(unmarked(answer).strip())
    return found[1].lower() if found else None


def word_list(answer: str) -> list[str]:
    r"""Returns the parts of a list of words, in lower case; empty for anything else.

    >>> word_list(r"\text{Alice and Bob}"), word_list(r"\text{(A), (C)}"), word_list("x+1,2")
    (['alice', 'bob'], ['a', 'c'], [])
    """
    if not _JOINT.search(answer):
        return []
    parts = re.split(r"\s*(?:[,;&]|\band\b|\bor\b)\s*", unmarked(answer).strip().rstrip("."), flags=re.I)
    parts = [part.strip("() ").casefold() for part in parts if part.strip("() ")]
    return parts if len(parts) > 1 and all(re.fullmatch(r"[^\W\d_][^\W\d_' -]*", part) for part in parts) else []


def said(answer: str) -> str | None:
    """Returns what a sentence of the form "The ... is X" says, or None for anything else.

    >>> said("The transformed function f(x+1)-1 is odd"), said("odd")
    ('odd', None)
    """
    plain = _TEXT.sub(lambda found: f" {found[1]} ", answer).strip() if answer.startswith(r"\text{") else answer
    found = _SENTENCE.fullmatch(plain)
    return found[1].strip() if found else None


def without_condition(answer: str) -> tuple[str, str]:
    r"""Returns an answer without the condition at its end, and that condition ("" for none).

    >>> without_condition(r"2t+1\text{for some integer}t")
    ('2t+1', '\\text{for some integer}t')
    >>> without_condition(r"k\pi,k\in\mathbb{Z}")
    ('k\\pi', ',k\\in\\mathbb{Z}')
    """
    if not _CONDITION_HINT.search(answer):
        return answer, ""
    found = _CONDITION.search(answer)
    if found and found.start() > 0:
        return answer[: found.start()].strip(" ,;").removesuffix("("), found[0]
    for pattern in (_MEMBERSHIP, _BRACKETED_CONDITION):
        last = list(pattern.finditer(answer))
        if last and last[-1].end() == len(answer) and last[-1].start() > 0:
            return answer[: last[-1].start()], last[-1][0]
    return answer, ""


def domain_of(condition: str) -> str:
    r"""Returns which numbers the letter of a condition may be, "" where that is not known.

    >>> domain_of(r"\text{ for some integer }t"), domain_of(r",k\in\mathbb{Z}"), domain_of(r",n\in\mathbb{N}")
    ('integers', 'integers', 'positive')
    """
    if re.search(r"non-?negative|positive|natural|\\mathbb\{N\}|\^[+*]|_[+*]|[<>]|\\[gl]e|odd|even", condition):
        return "positive" if not re.search("non-?negative|odd|even", condition) else ""
    if re.search(r"integer|\\mathbb\{Z\}|\\in\s*Z", condition):
        return "integers"
    return "reals" if re.search(r"real|\\mathbb\{R\}", condition) else ""


def without_ordinal(answer: str) -> str:
    r"""Returns an answer with ordinal numbers as plain ones: `15th` is `15`."""
    return _ORDINAL.sub(r"\1 ", answer).strip()


def without_labels(answer: str) -> str:
    r"""Returns an answer without names before a colon or numbers of parts: `Paolo: 18, Rayna: 7` is `18,7`.

    >>> without_labels("Paolo:18,Rayna:7"), without_labels("20:3"), without_labels(r"(a)5\text{ (b) }7")
    ('18,7', '20:3', '5,7')
    """
    answer = _ADVERB.sub("", answer)
    parts = list(_PART.finditer(answer))
    numbers = tuple(part[1] for part in parts)
    numbered = any(numbers == numbering[: len(numbers)] for numbering in _NUMBERINGS)
    apart = all(one.end() < other.start() for one, other in pairwise(parts))
    if len(parts) > 1 and parts[0].start() == 0 and numbered and apart:
        answer = _PART.sub(",", answer).strip(",")
        answer = re.sub(r"\s*[,;]+\s*,", ",", answer)
    return _LABEL.sub("", answer)
