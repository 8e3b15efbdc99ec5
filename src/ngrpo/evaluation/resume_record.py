"""The record of an evaluation, written before its first sample: a resumed evaluation compares it with its own.

`evaluation.json` holds the model (with a digest of its files), the sampler, the task (with a digest of its problems)
and the plan.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ngrpo.errors import ConfigError, DataError
from ngrpo.evaluation.journal import journal_path
from ngrpo.storage import write_json
from ngrpo.types import Problem

RECORD = "evaluation.json"
SAMPLES = "samples.jsonl"

_READ_AT_ONCE = 1 << 20
_READ_WHOLE = 1 << 28
"""Of larger files of weights, 64 blocks evenly spaced are read: another training step changes all of them."""


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Writes down what decides the evaluation whose samples go into a folder."""
    write_json(folder / RECORD, record)


def check_record(folder: Path, record: Mapping[str, Any], *, resume: bool) -> None:
    """Checks that samples may be added to what a folder holds: nothing, or samples of the same record.

    Args:
        folder: where the samples go.
        record: plain JSON values.
        resume: whether an evaluation that is there may be gone on with.

    Raises:
        ConfigError: when an evaluation is there and `resume` is false, or it differs in anything.
        DataError: when there are samples without a record.
    """
    samples = folder / SAMPLES
    journal = journal_path(samples)
    begun = journal.exists() and journal.stat().st_size > 0
    if not (begun or samples.exists()):
        return
    if not resume and begun:
        raise ConfigError(f"{folder} holds an unfinished evaluation: continue with --resume, or choose another --out")
    if not resume:
        raise ConfigError(f"{folder} already holds samples: choose another --out, or remove it")
    path = folder / RECORD
    for key, was, now in _differences(_read(path), json.loads(json.dumps(record)), ""):
        raise ConfigError(
            f"{folder} was begun with {key} = {_shown(was)}, now it is {_shown(now)}: "
            "samples of two evaluations must not be mixed; choose another --out"
        )


def problems_digest(problems: Sequence[Problem]) -> str:
    """Returns a digest of ids, questions, messages and references, in order."""
    digest = blake2b(digest_size=16)
    for problem in problems:
        turns = [(message.role, message.content) for message in problem.messages]
        digest.update(json.dumps([problem.id, problem.question, problem.reference, turns]).encode())
    return digest.hexdigest()


def model_digest(path: str) -> str:
    """Returns a digest of a model folder's files, or nothing for a hub id, which names its weights itself."""
    folder = Path(path)
    if not folder.is_dir():
        return ""
    digest = blake2b(digest_size=16)
    for file in sorted(folder.iterdir()):
        if file.suffix in {".safetensors", ".json", ".bin", ".model", ".jinja", ".txt"} and file.is_file():
            digest.update(f"{file.name}|{file.stat().st_size}|".encode())
            for block in _blocks(file):
                digest.update(block)
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    step = _READ_AT_ONCE if size <= _READ_WHOLE else (size - _READ_AT_ONCE) // 63
    with path.open("rb") as file:
        for start in range(0, size, step):
            file.seek(start)
            yield file.read(_READ_AT_ONCE)


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = None
    if not isinstance(record, dict):
        raise DataError(f"{path} cannot be read: it is not the record of an evaluation")
    return record


def _differences(was: Any, now: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted(was.keys() | now.keys()):
            yield from _differences(was.get(key), now.get(key), f"{where}.{key}" if where else key)
    elif was != now:
        yield where, was, now


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
