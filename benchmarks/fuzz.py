"""Tries damaged inputs: configs, samples files, problem files, the files of a run folder, the answers of an endpoint.

    python benchmarks/fuzz.py --inputs 100000

Hypothesis damages sound inputs: bytes cut, doubled, replaced, JSON values exchanged, keys dropped. Each input must
be read, or refused with an error that is meant for a user (`NgrpoError`); another exception, or more than 20
seconds, is a fault, and is printed with the input in its smallest form.
"""

from __future__ import annotations

import argparse
import copy
import json
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ngrpo.config import apply_overrides, config_of, load_config
from ngrpo.errors import NgrpoError
from ngrpo.evaluation.journal import Journal, journal_path
from ngrpo.evaluation.samples.counts import read_counts
from ngrpo.evaluation.statistics.summary import summarize
from ngrpo.runs.manifest import changed_log, damage, is_kept
from ngrpo.runs.opening import check_same_run
from ngrpo.runs.own_evaluation import own_tables
from ngrpo.runs.run_dir import RunDir
from ngrpo.sampling import Decoding
from ngrpo.sampling.endpoint.protocol import UnusableAnswerError, WithheldError, completion_of, message_of
from ngrpo.tasks import load_task
from ngrpo.training.checkpoint import load_state
from ngrpo.training.rollout_journal import _read as read_rollout_journal

MOST_SECONDS = 20
PER_ROUND = 1000
"""Inputs of one call of hypothesis, whose tree of what it has tried grows with them."""

CONFIG = """
[model]
path = "builtin:countdown-base"
lora = {rank = 4, alpha = 8.0, target_modules = ["q_proj"]}
[task]
name = "countdown"
train_size = 100
[method]
name = "ngrpo"
max_reward = 1.0
[sampling]
group_size = 4
temperature = 1.0
[optimizer]
lr = 1e-4
betas = [0.9, 0.99]
[evaluation]
tasks = ["countdown"]
[run]
name = "a"
steps = 3
trackers = ["tensorboard"]
[endpoint]
url = "http://127.0.0.1:8000/v1"
body = {a = 1}
"""
SAMPLES: Mapping[str, list[Mapping[str, Any]]] = {
    "own.jsonl": [
        {"problem_id": "a", "sample": i, "completion": "x", "answer": "1", "reference": "1", "status": status}
        | {"reward": 1.0, "num_tokens": 3, "seed": 0, "finish_reason": "stop", "logprob": -1.5}
        for i, status in enumerate(("correct", "wrong", "ungraded", "no_answer"))
    ],
    "reference.jsonl": [{"question_id": 1, "generation_id": i, "label": i % 2, "generation": "t"} for i in range(3)],
    "table.jsonl": [{"id": "a", "sample": i, "correct": i == 0} for i in range(3)],
    "harness.jsonl": [
        {"doc_id": 0, "doc": {"q": "x"}, "target": "1", "resps": [["1"]], "filtered_resps": ["1"], "exact_match": 1.0}
    ],
    "humaneval.jsonl": [{"task_id": "HumanEval/0", "completion": "x", "result": "passed", "passed": True}],
}
PROBLEMS: tuple[list[Mapping[str, Any]], ...] = (
    [{"question": "1+1?", "answer": "2", "id": "a", "level": 3}, {"question": "1+2?", "answer": "3", "id": "b"}],
    [{"prompt": [{"role": "user", "content": "2+2?"}], "answer": "\\boxed{4}"}],
    [{"problem": "3+3?", "solution": "so \\boxed{6}", "answer": "6"}],
)
ANSWER: Mapping[str, Any] = {
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "text": "4",
            "message": {"role": "assistant", "content": "4", "reasoning_content": "2+2"},
            "logprobs": {"content": [{"token": "4", "logprob": -0.5}], "token_logprobs": [-0.5]},
            "token_ids": [7],
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1},
}
STATE = {"step": 3, "cursor": 41, "rollouts_sampled": 9, "rollouts_trained": 8, "updates": 12, "empty_steps": 1}
MANIFEST = {
    "kept": True,
    "files": {"trainer_state.json": {"bytes": 3, "sha256": "0" * 64}},
    "logs": {"metrics.jsonl": {"bytes": 10, "tail_sha256": "0" * 64}},
}
JOURNAL = [
    {"round": "step 2"},
    {
        "problem_id": "a",
        "sample": 0,
        "text": "x",
        "tokens": "AQAAAAAAAAA=",
        "logprobs": "AAAAvw==",
        "finish_reason": "stop",
    },
]

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", " ",
    "\x00", "\ud800", "a" * 300, "../../x", "/etc/passwd", "nan", "1e999", "9" * 5000, [], [[]], {}, {"": None}, [None],
    "{question}", "\x1b[31m", "file:x", "١٢", "1_000",
)  # fmt: skip
ODD_BYTES = (
    b"\x00", b"\xff\xfe", b"\n", b"\r", b'"', b"{", b"}", b"[", b"]", b",", b"NaN", b"1e999", b"null", b"-",
    b"\xed\xa0\x80",
    b"[" * 3000, b'{"a":' * 2000, b"9" * 5000, b"\\u0000", b"\\ud800", b"\xef\xbb\xbf", b"=", b"version https://git-lfs",
)  # fmt: skip


def places_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the path of every value inside a JSON value."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in items:
        yield from places_of(inside, (*path, key))


@st.composite
def changed_values(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value with one to three of its values exchanged, dropped or moved."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        places = list(places_of(value))
        if not places:
            return draw(st.sampled_from(ODD_VALUES))
        *way, last = draw(st.sampled_from(places))
        inside = value
        for key in way:
            inside = inside[key]
        kind = draw(st.integers(0, 3))
        if kind == 0:
            del inside[last]
        elif kind == 1 and isinstance(inside, dict):
            inside[draw(st.sampled_from(("", "x", "\ud800", "name", "a" * 200)))] = inside.pop(last)
        else:
            odd = st.sampled_from(ODD_VALUES) | st.integers() | st.floats() | st.text(max_size=8)
            inside[last] = copy.deepcopy(draw(odd))
    return value


@st.composite
def damaged_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes with one to four places cut, doubled or overwritten."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 40)))
        odd = draw(st.sampled_from(ODD_BYTES) | st.binary(max_size=6))
        kind = draw(st.integers(0, 3))
        middle = {0: b"", 1: odd, 2: content[start:end] * 2, 3: content[start:end] + odd}[kind]
        content = content[:start] + middle + (content[end:] if draw(st.integers(0, 9)) else b"")
    return content


def lines_of(rows: list[Any]) -> bytes:
    """Returns JSON lines, lone surrogates escaped."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def damaged_lines(rows: list[Any]) -> st.SearchStrategy[bytes]:
    """JSON lines whose values or whose bytes are damaged."""
    return changed_values(rows).map(lambda v: lines_of(v) if isinstance(v, list) else b"") | damaged_bytes(
        lines_of(rows)
    )


def damaged_object(value: Any) -> st.SearchStrategy[bytes]:
    """A JSON object whose values or whose bytes are damaged."""
    return changed_values(value).map(lambda v: json.dumps(v).encode()) | damaged_bytes(json.dumps(value).encode())


class Fuzzer:
    """The targets, each with its inputs; `folder` is for their files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._number = folder, 0
        (folder / "run" / "checkpoints" / "step_000003").mkdir(parents=True)
        self.config = config_of(tomllib.loads(CONFIG)).to_json()
        self.targets: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], None]]] = {
            "config": (
                changed_values(tomllib.loads(CONFIG)) | damaged_bytes(CONFIG.encode())
                | st.text(max_size=20).map(lambda text: f"run.name={text}") | st.text(max_size=20),
                self.read_config,
            ),
            "samples file": (
                st.sampled_from(sorted(SAMPLES)).flatmap(lambda name: damaged_lines(list(SAMPLES[name])))
                | damaged_bytes(b"problem_id,n,c\na,4,2\nb,4,1\n"),
                self.read_samples,
            ),
            "problem file": (
                st.sampled_from(PROBLEMS).flatmap(damaged_lines) | damaged_bytes(b"question,answer\n1+1?,2\n"),
                self.read_problems,
            ),
            "run folder": (
                st.tuples(
                    st.sampled_from(("state", "manifest", "journal", "config", "evaluation")), st.integers()
                ).flatmap(lambda pick: st.tuples(st.just(pick[0]), self.run_file(pick[0]))),
                self.read_run,
            ),
            "endpoint answer": (damaged_object(ANSWER), self.read_answer),
        }  # fmt: skip

    def run_file(self, kind: str) -> st.SearchStrategy[bytes]:
        """The damaged content of a file of a run folder."""
        if kind == "journal":
            return damaged_lines(JOURNAL)
        if kind == "evaluation":
            return damaged_lines([{**row, "status": None} for row in SAMPLES["own.jsonl"]])
        record = {"config": self.config, "versions": {}, "seed": 0, "fingerprint": {"problems": "x", "weights": "y"}}
        return damaged_object({"state": STATE, "manifest": MANIFEST, "config": record}[kind])

    def read_config(self, given: Any) -> None:
        """A table of tables, a TOML file, or an override."""
        if isinstance(given, dict):
            config_of(given).to_json()
        elif isinstance(given, bytes):
            path = self.folder / "c.toml"
            path.write_bytes(given)
            load_config(path)
        elif isinstance(given, str):
            tables = tomllib.loads(CONFIG)
            apply_overrides(tables, [given])
            config_of(tables)

    def read_samples(self, content: bytes) -> None:
        """A samples file, by its content."""
        path = self.folder / ("s.jsonl" if content[:1] in (b"{", b"[") else "s.csv")
        path.write_bytes(content)
        counts = read_counts(path)
        if counts.n.any():
            json.dumps(summarize(counts).to_json())

    def read_problems(self, content: bytes) -> None:
        """A file of problems."""
        self._number += 1  # a task reads a path once per process
        path = self.folder / f"{self._number}.{'jsonl' if content[:1] in (b'{', b'[') else 'csv'}"
        path.write_bytes(content)
        task = load_task({"name": f"file:{path}", "grader": "exact"})
        for problem in task.problems("train"):
            task.grade_many([(problem, "\\boxed{2}")])
        path.unlink()

    def read_run(self, given: tuple[str, bytes]) -> None:
        """A file of a run folder or of an unfinished evaluation."""
        kind, content = given
        run = RunDir(self.folder / "run")
        checkpoint = run.checkpoint_path(3)
        if kind == "state":
            (checkpoint / "trainer_state.json").write_bytes(content)
            load_state(checkpoint)
        elif kind == "manifest":
            (checkpoint / "manifest.json").write_bytes(content)
            damage(checkpoint)
            is_kept(checkpoint)
            changed_log(checkpoint, {"metrics.jsonl": run.metrics_path})
        elif kind == "journal":
            run.journal_path().write_bytes(content)
            read_rollout_journal(run.journal_path(), "step 2")
        elif kind == "config":
            run.config_path.write_bytes(content)
            own_tables(str(run.path))
            saved = run.read_config().get("config")
            if isinstance(saved, dict):
                check_same_run(saved, self.config)
            load_config(run.config_path)
        else:
            samples = self.folder / "samples.jsonl"
            journal_path(samples).write_bytes(content)
            with Journal(samples, resume=True) as journal:
                for key in journal.ungraded():
                    journal.text(key)

    def read_answer(self, content: bytes) -> None:
        """What `SamplingJob` does with the body of an answer, or of a refusal."""
        message_of(content.decode("utf-8", "replace"))
        for api in ("chat", "completions"):
            try:
                completion_of(json.loads(content), api, Decoding())  # type: ignore[arg-type]
            except (UnusableAnswerError, WithheldError, ValueError, RecursionError):
                continue


class HangError(Exception):
    """An input took too long."""


@contextmanager
def alarm() -> Iterator[None]:
    """Raises HangError in the block after MOST_SECONDS."""

    def ring(*_: object) -> None:
        raise HangError(f"more than {MOST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fuzz(name: str, fuzzer: Fuzzer, inputs: int, number: int) -> Counter[str]:
    """Tries a target with so many inputs; returns how many were read and refused.

    Raises:
        Exception: what an input raised that is not meant for a user.
    """
    strategy, target = fuzzer.targets[name]
    counts = Counter[str]()

    def attempt(given_input: Any) -> None:
        with alarm():
            try:
                target(given_input)
            except NgrpoError:
                counts["refused"] += 1
            else:
                counts["read"] += 1

    left = inputs
    while left > 0:  # hypothesis ends a round early when it has tried all that it can think of
        before = counts.total()
        options = settings(
            max_examples=min(left, PER_ROUND),
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        )
        seed(number)(options(given(strategy)(attempt)))()
        number += 1
        left -= max(1, counts.total() - before)
    return counts


def main() -> None:
    """Prints a line per target; status 1 at the first fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", help="only this one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        fuzzer = Fuzzer(Path(folder))
        names = [arguments.target] if arguments.target else list(fuzzer.targets)
        print("| target | inputs | read | refused in one line | CPU seconds |\n|---|---|---|---|---|", flush=True)
        for name in names:
            started = time.process_time()
            counts = fuzz(name, fuzzer, arguments.inputs // len(names), arguments.seed)
            seconds = time.process_time() - started
            row = (name, f"{counts.total():,}", f"{counts['read']:,}", f"{counts['refused']:,}", f"{seconds:.0f}")
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
