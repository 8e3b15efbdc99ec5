"""`ngrpo eval` of a server that fails, hangs, refuses or misbehaves: what arrived is kept, what is refused is named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ngrpo.evaluation.journal import journal_path
from ngrpo.sampling.endpoint import requesting
from tests.cli.conftest import Outcome
from tests.sampling.endpoint.fake_endpoint import FakeServer, Fault, running

Run = Callable[..., Outcome]

ANSWERED, TOTAL, CONCURRENCY = 200, 300, 16
KEPT = "partial results are kept in {}; continue with --resume\n"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with running() as fake:
        fake.max_model_len = 10_000
        yield fake


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requesting, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(requesting, "LONGEST_PAUSE_SECONDS", 0.1)


def arguments(server: FakeServer, out: Path, *more: object, problems: int = 30, samples: int = 10) -> list[str]:
    command = ["eval", "m", "--task", "countdown", "--sampler", "endpoint", "--url", f"http://127.0.0.1:{server.port}"]
    size = ["--problems", problems, "--samples", samples, "--max-completion-tokens", 8]
    table = ["--set", f"endpoint.concurrency={CONCURRENCY}"]
    return [str(part) for part in (*command, *size, *table, "--out", out, *more)]


def after_200(fault: Fault) -> Callable[[int, str, dict[str, Any]], Fault | None]:
    return lambda number, _path, _body: fault if number > ANSWERED else None


def completions_in(out: Path) -> int:
    journal = journal_path(out / "samples.jsonl")
    lines = journal.read_bytes().splitlines() if journal.exists() else []
    return sum(b'"completion": ' in line for line in lines)


def asked_when_resumed(run: Run, server: FakeServer, out: Path) -> int:
    """How many requests a resumed evaluation sends, which then ends."""
    before = len(server.seen)
    server.fault = lambda *_request: None
    outcome = run(*arguments(server, out, "--resume", "--json"))
    assert outcome.status == 0, outcome.err
    assert json.loads(outcome.out)["samples"] == TOTAL
    rows = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert len({(row["problem_id"], row["sample"]) for row in rows}) == len(rows) == TOTAL
    assert all(row["status"] in {"correct", "wrong", "no_answer"} for row in rows)
    assert not journal_path(out / "samples.jsonl").exists()
    return len(server.seen) - before


@pytest.mark.parametrize(
    ("fault", "said"),
    [(("status", (500, {}, "engine died")), "500: engine died"), (("hang", 60.0), "no complete answer within 8 s")],
    ids=["fails with 500 for ever", "hangs"],
)
def test_a_server_that_dies_after_200_of_300_costs_none_of_them(
    run: Run, tmp_path: Path, server: FakeServer, fault: Fault, said: str
) -> None:
    server.fault = after_200(fault)
    patience = (
        "--set",
        "endpoint.patience_seconds=1",
        "--set",
        "endpoint.timeout_seconds=8",
    )
    outcome = run(*arguments(server, tmp_path / "e", *patience))
    assert outcome.status == 1
    assert outcome.err.splitlines()[-2] + "\n" == KEPT.format(tmp_path / "e")
    assert outcome.err.splitlines()[-1].startswith("ngrpo: no answer from http://127.0.0.1:")
    assert outcome.err.endswith(f"{said}\n")
    assert completions_in(tmp_path / "e") == ANSWERED
    assert asked_when_resumed(run, server, tmp_path / "e") == TOTAL - ANSWERED


@pytest.mark.parametrize(
    ("number", "status", "at_once"),
    [(signal.SIGINT, 130, False), (signal.SIGTERM, 143, False), (signal.SIGKILL, -9, True)],
    ids=["Ctrl-C", "SIGTERM", "kill -9"],
)
def test_a_signal_after_200_of_300_costs_none_of_them(
    run: Run, tmp_path: Path, server: FakeServer, number: signal.Signals, status: int, at_once: bool
) -> None:
    out, errors = tmp_path / "e", tmp_path / "errors"
    server.fault = after_200(("hang", 600.0))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with errors.open("wb") as stderr:
        command = [sys.executable, "-m", "ngrpo", *arguments(server, out)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=stderr)
        deadline = time.monotonic() + 120
        while len(server.seen) < ANSWERED + CONCURRENCY and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)  # the 16 that hang are asked for when all 200 are answered
        if not at_once:
            time.sleep(1.0)
            assert completions_in(out) == ANSWERED
        process.send_signal(number)
        assert process.wait(timeout=60) == status
    said = errors.read_text()
    if number != signal.SIGKILL:
        assert KEPT.format(out) in said
    assert "Traceback" not in said
    asked = asked_when_resumed(run, server, out)
    assert TOTAL - ANSWERED <= asked <= TOTAL - ANSWERED + (CONCURRENCY if at_once else 0)


def test_one_prompt_that_is_refused_for_good_leaves_all_others_and_is_named(
    run: Run, tmp_path: Path, server: FakeServer
) -> None:
    small = {"problems": 8, "samples": 4}
    first = run(*arguments(server, tmp_path / "whole", "--json", **small))
    question = server.bodies()[0]["messages"][-1]["content"]
    refused = ("status", (400, {}, json.dumps({"error": {"message": "context length exceeded"}})))
    server.fault = lambda _number, _path, body: refused if body["messages"][-1]["content"] == question else None
    server.seen.clear()
    outcome = run(*arguments(server, tmp_path / "e", **small))
    rows = [json.loads(line) for line in (tmp_path / "e" / "samples.jsonl").read_text().splitlines()]
    (problem,) = {row["problem_id"] for row in rows if row["status"] == "ungraded"}
    named = f"problem '{problem}' (4): 400: context length exceeded"
    again = "to ask again: --resume --retry-ungraded"
    assert outcome.status == 0
    assert outcome.err.splitlines()[-1] == (
        f"ngrpo: 4 of 32 completions are ungraded, refused by the server: {named}; {again}"
    )
    lost = [row for row in rows if row["problem_id"] == problem]
    assert [(row["completion"], row["num_tokens"], row["finish_reason"]) for row in lost] == [("", 0, "refused")] * 4
    assert {row["reason"] for row in lost} == {"400: context length exceeded"}
    assert all("reason" not in row for row in rows if row not in lost)
    assert max(Counter(body["seed"] for body in server.bodies()).values()) == 3
    summary = json.loads((tmp_path / "e" / "summary.json").read_text())
    assert (summary["samples"], summary["ungraded"], summary["ungraded_problems"]) == (32, 4, 1)
    assert summary["refused"] == [{"problem_id": problem, "samples": 4, "reason": "400: context length exceeded"}]
    whole = json.loads(first.out)
    assert whole["refused"] == []
    # Asked for again: still refused, then answered.
    server.seen.clear()
    kept = run(*arguments(server, tmp_path / "e", "--resume", **small))
    assert (server.seen, kept.err.splitlines()[-1]) == ([], outcome.err.splitlines()[-1])
    assert run(*arguments(server, tmp_path / "e", "--resume", "--retry-ungraded", **small)).err == outcome.err
    assert len(server.seen) == 12
    server.fault = lambda *_request: None
    server.seen.clear()
    answered = run(*arguments(server, tmp_path / "e", "--resume", "--retry-ungraded", "--json", **small))
    assert len(server.seen) == 4
    assert json.loads(answered.out) == whole
    assert (tmp_path / "e" / "samples.jsonl").read_bytes() == (tmp_path / "whole" / "samples.jsonl").read_bytes()


def test_a_retry_that_is_cut_off_keeps_everything(run: Run, tmp_path: Path, server: FakeServer) -> None:
    small = {"problems": 4, "samples": 4}
    server.fault = lambda _number, _path, body: ("finish", "content_filter") if body["seed"] % 2 else None
    outcome = run(*arguments(server, tmp_path / "e", "--json", **small))
    lost = json.loads(outcome.out)["ungraded"]
    assert 0 < lost < 16
    assert f"{lost} of 16 completions are ungraded, refused by the server: " in outcome.err
    assert "content_filter; " in outcome.err
    server.fault = lambda *_request: ("status", (503, {}, "gone"))
    retry = arguments(server, tmp_path / "e", "--resume", "--retry-ungraded", **small)
    failed = run(*retry, "--set", "endpoint.patience_seconds=0.3")
    assert KEPT.format(tmp_path / "e") in failed.err
    server.fault = lambda *_request: None
    server.seen.clear()
    plain = run(*arguments(server, tmp_path / "e", "--resume", "--json", **small))
    assert (server.seen, json.loads(plain.out)) == ([], json.loads(outcome.out))
    assert json.loads(run(*retry, "--json").out)["ungraded"] == 0
    assert len(server.seen) == lost


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_refuses_everything_is_one_line_and_nothing_is_recorded(
    run: Run, tmp_path: Path, server: FakeServer, status: int
) -> None:
    server.fault = lambda *_request: ("status", (status, {}, "top_k must be positive " * 400))
    outcome = run(*arguments(server, tmp_path / "e"))
    assert outcome.status == 2
    last = outcome.err.splitlines()[-1]
    assert last.startswith("ngrpo: the server refuses the requests for 16 problems in a row, as that for problem '")
    assert f": {status}: top_k must be positive" in last
    assert len(last) < 600
    assert completions_in(tmp_path / "e") == 0
    assert "partial results" not in outcome.err
    one = run(*arguments(server, tmp_path / "one", problems=1, samples=1))
    assert one.err.splitlines()[-1].startswith("ngrpo: the server refuses every request, as that for problem '")


def test_many_refused_problems_are_a_list_and_a_short_line(run: Run, tmp_path: Path, server: FakeServer) -> None:
    server.fault = lambda _number, _path, body: ("finish", "content_filter") if body["seed"] % 2 else None
    outcome = run(*arguments(server, tmp_path / "e", samples=4))
    lines = outcome.err.splitlines()
    assert sum(line.startswith("ngrpo: refused: problem '") for line in lines) == 20
    assert " more problems; to ask again: " in lines[-1]
    assert max(map(len, lines)) < 800


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--sampler", "transformers"), "--url needs --sampler endpoint: sampler 'transformers' uses no server"),
        (("--seed", 2**70), "'seed': input should be less than 9223372036854775808, got 1180591620717411303424"),
        (("--retry-ungraded",), "--retry-ungraded continues an evaluation: add --resume"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_asked(
    run: Run, tmp_path: Path, server: FakeServer, more: tuple[object, ...], said: str
) -> None:
    outcome = run(*arguments(server, tmp_path / "e", *more))
    assert (outcome.status, outcome.err) == (2, f"ngrpo: [run] {said}\n" if "seed" in said else f"ngrpo: {said}\n")
    assert server.seen == []
    assert not (tmp_path / "e").exists()


def test_the_line_of_an_error_is_short_whatever_it_names(run: Run, tmp_path: Path, server: FakeServer) -> None:
    server.models = ["x" * 3000 + str(i) for i in range(50)]
    outcome = run(*arguments(server, tmp_path / "e"))
    assert outcome.err.startswith(
        f"ngrpo: the server at http://127.0.0.1:{server.port}/v1 does not serve the model 'm'"
    )
    assert len(outcome.err) < 600
    outcome = run("eval", "y" * 9000, "--task", "z" * 9000)
    assert outcome.status == 2
    assert len(outcome.err) < 900
