"""A fast way to read the verdicts of large files of JSON lines, for files in which nothing is unusual.

It never has the last word: whatever it does not know to be in order it leaves to the reader that goes line by line,
whose messages name the line. So both give the same verdicts and the same errors; only what no verdict depends on, and
Python's reader does not take (deep nesting, numbers of thousands of digits, -NaN), passes here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ngrpo.evaluation.samples.entry import REFUSED, UNGRADED, VERDICTS, Identity, answer_of
from ngrpo.evaluation.samples.facts import ANSWER, CUT, LENGTH, NO_TEXT, SILENT, TEXT, text_digests
from ngrpo.evaluation.samples.grade_columns import Answers, Verdicts

if TYPE_CHECKING:
    import pyarrow

CHUNK = 8 * 2**20
BLOCK = 2**20
"""What one thread parses at once; a longer line is unusual."""

_WHITE = b" \t\r\n"
_NEWLINE, _OPENING, _CLOSING = b"\n{}"


def arrow_verdicts(file: IO[bytes], first: Mapping[str, Any], *, with_answers: bool = False) -> Verdicts | None:
    """Returns the verdicts of ngrpo's or the reference implementation's lines, None where anything is unusual.

    Args:
        file: at its beginning.
        first: its first line, which decides on the format and on the type of the ids.
        with_answers: reads the answers too; None where the first line has none.
    """
    import pyarrow

    ours = "problem_id" in first
    id_key, sample_key = ("problem_id", "sample") if ours else ("question_id", "generation_id")
    answer_key = "answer" if ours else "pred_answer"
    if with_answers and answer_key not in first:
        return None
    id_type = pyarrow.string() if isinstance(first.get(id_key), str) else pyarrow.int64()
    types = {id_key: id_type, sample_key: pyarrow.int64()}
    if ours:
        types |= {
            "status": pyarrow.string(),
            "seed": pyarrow.int64(),
            "step": pyarrow.int64(),
            "reason": pyarrow.string(),
        }
    else:
        types |= {"label": pyarrow.bool_(), "pred_answer": pyarrow.string()}
    if with_answers:
        types[answer_key] = pyarrow.string()
    text_key, reference_key = _text_and_reference(first)
    types |= dict.fromkeys((text_key, reference_key, "finish_reason"), pyarrow.string())
    try:
        table = _table(file, pyarrow.schema(list(types.items())), text_key)
        if table is None or any(table[key].null_count for key in (id_key, sample_key, "status" if ours else "label")):
            return None
        verdicts = _verdicts(table, id_key, sample_key)
        if verdicts is not None and with_answers:
            verdicts = replace(verdicts, answers=_answers(table, answer_key))
        return None if verdicts is None else _with_facts(verdicts, table, first)
    except pyarrow.ArrowException:
        return None


def _text_and_reference(first: Mapping[str, Any]) -> tuple[str, str]:
    return ("completion", "reference") if "problem_id" in first else ("response", "gold_answer")


def _table(file: IO[bytes], schema: pyarrow.Schema, text_key: str) -> pyarrow.Table | None:
    """Returns the columns, that of the completions' texts as digests, so that it takes no memory."""
    import pyarrow.json

    parsing = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    reading = pyarrow.json.ReadOptions(block_size=BLOCK)
    tables = []
    for chunk in _chunks(file):
        lines = _lines_in(chunk)
        if lines < 0:
            return None
        table = pyarrow.json.read_json(pyarrow.BufferReader(chunk), read_options=reading, parse_options=parsing)
        if table.num_rows != lines:
            return None
        digests = pyarrow.array(text_digests(table[text_key].to_pylist()))
        tables.append(table.set_column(table.column_names.index(text_key), text_key, digests))
    return pyarrow.concat_tables(tables) if tables else None


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Yields whole lines, about `CHUNK` bytes at a time; without the white space at the end of the file."""
    rest = b""
    while block := file.read(CHUNK):
        end = block.rfind(b"\n") + 1
        if end:
            yield rest + block[:end]
            rest = block[end:]
        else:
            rest += block
    if rest := rest.rstrip(_WHITE):
        yield rest


def _lines_in(chunk: bytes) -> int:
    """Returns the number of lines, or -1 unless each begins with { and ends with }, so that none can be half an object.

    With as many objects as lines, each line then holds exactly one.
    """
    if b"\0" in chunk or not (chunk.isascii() or _is_text(chunk)):
        return -1
    characters = np.frombuffer(chunk, dtype=np.uint8)
    ends = np.flatnonzero(characters == _NEWLINE)
    if not chunk.endswith(b"\n"):
        ends = np.r_[ends, len(chunk)]
    starts = np.r_[0, ends[:-1] + 1]
    whole = (characters[starts] == _OPENING).all() and (characters[ends - 1] == _CLOSING).all()
    return len(ends) if whole else -1


def _is_text(chunk: bytes) -> bool:
    try:
        return bool(chunk.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def _verdicts(table: pyarrow.Table, id_key: str, sample_key: str) -> Verdicts | None:
    encoded = table[id_key].combine_chunks().dictionary_encode()
    sample = _numbers(table[sample_key])
    reasons: Counter[str] = Counter()
    if "status" in table.column_names:
        statuses = table["status"].combine_chunks().dictionary_encode()
        codes = [VERDICTS.get(status) for status in statuses.dictionary.to_pylist()]
        seed = _numbers(table["seed"].fill_null(0))
        if None in codes or len(table["step"].unique()) > 1 or seed.min(initial=0) < 0:
            return None
        verdict = np.array(codes, dtype=np.int8)[_numbers(statuses.indices)]
        ungraded = np.flatnonzero(verdict == UNGRADED)
        reasons.update(reason for reason in table["reason"].take(ungraded).to_pylist() if reason)
    else:
        seed = np.zeros(len(sample), dtype=np.int64)
        verdict = table["label"].to_numpy().astype(np.int8)
    if sample.min(initial=0) < 0:
        return None
    return Verdicts(
        problem_ids=tuple(map(str, encoded.dictionary.to_pylist())),
        problem=_numbers(encoded.indices),
        seed=seed,
        sample=sample,
        verdict=verdict,
        line=np.arange(1, len(sample) + 1, dtype=np.int64),
        reasons=reasons,
    )


def _answers(table: pyarrow.Table, key: str) -> Answers:
    encoded = table[key].combine_chunks().dictionary_encode()
    texts = [answer_of(text) for text in encoded.dictionary.to_pylist()]
    silent = len(texts)
    codes = _numbers(encoded.indices.fill_null(silent))
    codes = np.array([silent if text is None else at for at, text in enumerate(texts)] + [silent])[codes]
    if "status" in table.column_names:
        codes[_equals(table["status"].combine_chunks(), "no_answer")] = silent
    return Answers(tuple(text or "" for text in texts), codes)


def _numbers(column: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(
        column.to_numpy(zero_copy_only=False) if hasattr(column, "indices") else column.to_numpy(), dtype=np.int64
    )


def _with_facts(verdicts: Verdicts, table: pyarrow.Table, first: Mapping[str, Any]) -> Verdicts | None:
    """Returns the verdicts with what else the lines hold, None where an id has several references."""
    text_key, reference_key = _text_and_reference(first)
    text = _numbers(table[text_key])
    reasons = table["finish_reason"].combine_chunks()
    sampled = ~_equals(reasons, REFUSED)
    flags = np.where(sampled & (text != NO_TEXT), TEXT, 0)
    flags |= np.where(sampled & reasons.is_valid().to_numpy(zero_copy_only=False), LENGTH, 0)
    flags |= np.where(_equals(reasons, "length"), CUT, 0)
    if "status" in table.column_names:
        flags |= ANSWER | np.where(_equals(table["status"].combine_chunks(), "no_answer"), SILENT, 0)
    elif "pred_answer" in first:
        answers = table["pred_answer"].combine_chunks().dictionary_encode()
        silent = np.array([answer_of(text) is None for text in answers.dictionary.to_pylist()] + [True])
        flags |= ANSWER | np.where(silent[_numbers(answers.indices.fill_null(len(silent) - 1))], SILENT, 0)
    identities = _identities(verdicts, table[reference_key].combine_chunks().dictionary_encode())
    if identities is None:
        return None
    return replace(verdicts, text=text, flags=flags.astype(np.int8), identities=identities)


def _equals(column: pyarrow.Array, value: str) -> NDArray[np.bool_]:
    import pyarrow.compute

    equal = pyarrow.compute.equal(column, value).fill_null(False)
    return np.asarray(equal.to_numpy(zero_copy_only=False), dtype=bool)


def _identities(verdicts: Verdicts, references: pyarrow.DictionaryArray) -> tuple[Identity, ...] | None:
    texts = references.dictionary.to_pylist()
    codes = _numbers(references.indices.fill_null(len(texts)))
    pairs = np.unique(verdicts.problem * (len(texts) + 1) + codes)
    problem, code = np.divmod(pairs, len(texts) + 1)
    if len(pairs) != len(verdicts.problem_ids):
        return None
    named = [(("reference", text.strip()),) for text in texts] + [()]
    return tuple(named[code[at]] for at in np.argsort(problem))
