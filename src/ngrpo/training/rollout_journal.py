"""Completions of the running step on disk as they are sampled, so that a step that was interrupted continues with them.

The journal is a hidden file of JSON lines in the run folder: a head that names the step, then a line per completion.
Only the step that follows the checkpoint takes its completions up: they were sampled with the same weights from the
same random streams, so that a run with a journal is equal to one without, byte for byte.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from ngrpo.sampling import Decoding, Request, Sampler
from ngrpo.storage import json_line
from ngrpo.types import Completion, FinishReason, KeptTokens

Key = tuple[str, int]
"""A problem's id and the sample's index."""


class JournaledSampler(Sampler):
    """Samples with another sampler and keeps what arrives until the next step begins.

    Args:
        sampler: samples the completions.
        path: the journal.
        step: the step whose completions may be taken up; those of another one are dropped.
    """

    def __init__(self, sampler: Sampler, path: Path, *, step: int) -> None:
        self._sampler, self._path = sampler, path
        self._round, self._kept = f"step {step}", dict[Key, Completion]()
        self._kept = _read(path, self._round)
        self.taken_up = len(self._kept)

    def blocks(self, requests: Sequence[Request]) -> list[list[int]]:
        """See `Sampler.blocks`."""
        return self._sampler.blocks(requests)

    def update_weights(self) -> None:
        """Takes the policy's weights after an update."""
        self._sampler.update_weights()

    def stream(
        self, requests: Sequence[Request], decoding: Decoding, *, seed: int, round_name: str
    ) -> Iterator[tuple[int, Completion]]:
        """Yields what the journal has, then what is sampled; whole blocks, for equal bits (see `Sampler.blocks`)."""
        if round_name != self._round or not self._path.exists():
            self._begin(round_name)
        keys = [(request.prompt.problem.id, request.sample) for request in requests]
        blocks = self.blocks(requests)
        missing = [i for block in blocks if not all(keys[i] in self._kept for i in block) for i in block]
        sampled = set(missing)
        for i, key in enumerate(keys):
            if i not in sampled:
                yield i, self._kept[key]
        if not missing:
            return
        with self._path.open("ab") as file:
            wanted = [requests[i] for i in missing]
            for place, completion in self._sampler.stream(wanted, decoding, seed=seed, round_name=round_name):
                index = missing[place]
                problem_id, sample = keys[index]
                line = {"problem_id": problem_id, "sample": sample, **completion_record(completion)}
                file.write(json_line(line))
                file.flush()
                yield index, completion

    def _begin(self, round_name: str) -> None:
        self._round, self._kept = round_name, {}
        self._path.write_bytes(json_line({"round": round_name}))


def completion_record(completion: Completion) -> dict[str, Any]:
    """Returns a completion as JSON, its arrays in base64."""
    kept = completion.kept
    return {
        "text": completion.text,
        "tokens": base64.b64encode(completion.tokens.astype("<i8").tobytes()).decode(),
        "logprobs": base64.b64encode(completion.logprobs.astype("<f4").tobytes()).decode(),
        "finish_reason": completion.finish_reason,
        **({} if kept is None else {"kept": [_int32_text(kept.counts), _int32_text(kept.tokens)]}),
    }


def _int32_text(values: NDArray[np.int32]) -> str:
    return base64.b64encode(values.astype("<i4").tobytes()).decode()


def _kept(row: Any, length: int) -> KeptTokens | None:
    """Returns the kept tokens of a line, if it has any.

    Raises:
        ValueError: where they are not those of a completion of this length.
    """
    if "kept" not in row:
        return None
    counts, tokens = (
        np.frombuffer(base64.b64decode(text, validate=True), dtype="<i4").astype(np.int32) for text in row["kept"]
    )
    if len(counts) != length or counts.sum() != len(tokens):
        raise ValueError("not the tokens that were kept")
    return KeptTokens(counts, tokens)


def _read(path: Path, round_name: str) -> dict[Key, Completion]:
    """Returns the completions of a journal, none of another round; a bad line and all after it are cut off."""
    kept: dict[Key, Completion] = {}
    if not path.is_file():
        return kept
    end = 0
    with path.open("rb") as file:
        try:
            head = file.readline()
            if json.loads(head) != {"round": round_name}:
                raise ValueError("another round")
            end += len(head)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                row = json.loads(line)
                kept[str(row["problem_id"]), int(row["sample"])] = completion_of(row)
                end += len(line)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            pass
    if end == 0:
        path.unlink()
    elif end < path.stat().st_size:
        with path.open("r+b") as file:
            file.truncate(end)
    return kept


def completion_of(row: Any) -> Completion:
    """Returns the completion of a record; raises ValueError, TypeError or KeyError where it is none."""
    tokens = np.frombuffer(base64.b64decode(row["tokens"], validate=True), dtype="<i8").astype(np.int64)
    logprobs = np.frombuffer(base64.b64decode(row["logprobs"], validate=True), dtype="<f4").astype(np.float32)
    reason = row["finish_reason"]
    if reason not in get_args(FinishReason) or len(tokens) != len(logprobs) or not isinstance(row["text"], str):
        raise ValueError("not a completion")
    return Completion(row["text"], tokens, logprobs, cast("FinishReason", reason), kept=_kept(row, len(tokens)))
