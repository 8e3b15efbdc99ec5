from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from ngrpo.errors import ConfigError, GradingError
from ngrpo.evaluation.evaluate import evaluate
from ngrpo.evaluation.journal import Journal, journal_path
from ngrpo.evaluation.refusals import MOST_PROBLEMS, RefusalWatch
from ngrpo.evaluation.samples.sample import Sample
from ngrpo.sampling import Decoding, Request
from ngrpo.types import Completion, Grade, Problem
from tests.evaluation.test_evaluate import PLAN, Scripted, Scripts, Words, lines


def sample(problem_id: str, number: int, text: str = "t", finish: str = "stop") -> Sample:
    return Sample(problem_id, number, text, None, "r", "ungraded", 0.0, 1, 0, finish)  # type: ignore[arg-type]


def test_a_completion_is_on_disk_when_the_call_returns_and_its_grade_after_it(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    with Journal(path, resume=False) as journal:
        journal.arrived(sample("é\ud800", 0, "a\n\ud800"), graded=False)
        assert [row["status"] for row in lines(journal_path(path))] == [None]
        assert journal.ungraded() == [("é\ud800", 0)]
        assert journal.text(("é\ud800", 0)) == "a\n\ud800"
        journal.graded([(("é\ud800", 0), Grade("correct", 1.0, "8", "equal"))])
        assert len(lines(journal_path(path))) == 2
    with Journal(path, resume=True) as again:
        assert (list(again.done), again.ungraded()) == ([("é\ud800", 0)], [])
        again.finish([("é\ud800", 0)])
    (row,) = lines(path)
    assert (row["completion"], row["status"], row["reward"], row["answer"]) == ("a\n\ud800", "correct", 1.0, "8")
    assert list(row)[-1] == "logprob"  # a graded line has no reason
    assert not journal_path(path).exists()


def test_the_reason_of_an_ungraded_completion_is_in_its_line(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    with Journal(path, resume=False) as journal:
        journal.arrived(sample("p", 0), graded=False)
        journal.graded([(("p", 0), Grade("ungraded", 0.0, None, "timeout"))])
        journal.finish([("p", 0)])
    assert lines(path)[0]["reason"] == "timeout"


def test_a_line_that_was_cut_anywhere_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    with Journal(path, resume=False) as journal:
        journal.arrived(sample("p", 0), graded=False)
        journal.graded([(("p", 0), Grade("wrong", 0.0))])
        journal.arrived(sample("p", 1), graded=False)
    whole = journal_path(path).read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole)):
        journal_path(path).write_bytes(whole[:cut])
        with Journal(path, resume=True) as again:
            assert (len(again.done), len(again.ungraded())) == ((cut >= ends[0]), (ends[0] <= cut < ends[1]))
            again.arrived(sample("p", 1), graded=False)
            assert again.text(("p", 1)) == "t"


def test_a_completion_that_comes_again_loses_the_grade_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    with Journal(path, resume=False) as journal:
        journal.arrived(sample("p", 0, "first"), graded=False)
        journal.graded([(("p", 0), Grade("correct", 1.0))])
        journal.arrived(sample("p", 0, "second"), graded=False)
    with Journal(path, resume=True) as again:
        assert (again.ungraded(), again.text(("p", 0))) == ([("p", 0)], "second")


def test_nothing_follows_part_of_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.jsonl"
    journal = Journal(path, resume=False)

    class Full:
        closed = False

        def write(self, part: memoryview) -> int:
            if len(part) < 50:
                raise OSError(28, "No space left on device")
            return 40

        def close(self) -> None:
            self.closed = True

    full = Full()
    journal.close()
    monkeypatch.setattr(journal, "_file", full)
    with pytest.raises(OSError, match="No space"):
        journal.arrived(sample("p", 0), graded=False)
    assert full.closed


class Gated(Scripted):
    """Grades nothing until `gate` is set."""

    def grade_many(self, answers: Sequence[tuple[Problem, str]]) -> list[Grade]:
        GATE.wait(30)
        return super().grade_many(answers)


GATE = threading.Event()


def test_completions_do_not_wait_for_grades(tmp_path: Path) -> None:
    GATE.clear()
    path = tmp_path / "s.jsonl"

    class Watched(Scripts):
        def stream(
            self, requests: Sequence[Request], decoding: Decoding, *, seed: int, round_name: str
        ) -> Iterator[tuple[int, Completion]]:
            yield from super().stream(requests, decoding, seed=seed, round_name=round_name)
            rows = lines(journal_path(path))
            assert len([row for row in rows if "completion" in row]) == 20
            assert len(rows) == 20
            GATE.set()

    result = evaluate(Watched(), Words(), Gated(solved=(0, 1, 2, 3, 4)), PLAN, path)
    assert result.summary.pass_at_k[1] == pytest.approx(0.5)


def test_a_resumed_evaluation_grades_what_was_not_graded(tmp_path: Path) -> None:
    task, path, whole = Scripted(solved=(0, 1, 4)), tmp_path / "s.jsonl", tmp_path / "whole.jsonl"
    evaluate(Scripts(), Words(), task, PLAN, whole)
    with pytest.raises(KeyboardInterrupt):
        evaluate(Scripts(dies_after=9), Words(), task, PLAN, path)
    rows = [row for row in lines(journal_path(path)) if "completion" in row]  # as a kill before the first grade
    journal_path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))
    second = Scripts()
    evaluate(second, Words(), task, PLAN, path, resume=True)
    assert (path.read_bytes(), len(second.sampled)) == (whole.read_bytes(), 3)


def test_an_error_of_the_grader_ends_the_evaluation_and_keeps_the_completions(tmp_path: Path) -> None:
    class Broken(Scripted):
        def grade_many(self, answers: Sequence[tuple[Problem, str]]) -> list[Grade]:
            raise GradingError("no process can be started")

    path = tmp_path / "s.jsonl"
    with pytest.raises(GradingError, match="no process"):
        evaluate(Scripts(), Words(), Broken(solved=(0, 1, 4)), PLAN, path)
    assert len(lines(journal_path(path))) >= 1
    assert not [thread for thread in threading.enumerate() if thread.name == "grader"]
    again = Scripts()
    evaluate(again, Words(), Scripted(solved=(0, 1, 4)), PLAN, path, resume=True)
    assert len(lines(path)) == 12


def completion(refusal: str = "") -> Completion:
    nothing = np.empty(0, dtype=np.int64)
    return Completion("", nothing, nothing.astype(np.float32), "refused" if refusal else "stop", refusal)


def test_refusals_wait_until_another_request_is_answered() -> None:
    watch = RefusalWatch(answered=False)
    assert watch.released(0, "a", completion("400: no")) == []
    assert watch.released(1, "a", completion("400: no")) == []
    assert [index for index, _ in watch.released(2, "b", completion())] == [0, 1, 2]
    assert watch.released(3, "c", completion("400: no")) == []
    assert [index for index, _ in watch.rest()] == [3]


def test_refusals_of_everything_are_an_error() -> None:
    watch = RefusalWatch(answered=False)
    watch.released(0, "a", completion("400: no"))
    with pytest.raises(ConfigError, match=r"^the server refuses every request, as that for problem 'a': 400: no$"):
        watch.rest()
    assert len(_held(answered=True).rest()) == 500  # one problem, any number of samples
    watch = _held(answered=True)
    for number in range(MOST_PROBLEMS - 2):
        watch.released(number, f"p{number}", completion("400: no"))
    with pytest.raises(ConfigError, match=rf"refuses the requests for {MOST_PROBLEMS} problems in a row"):
        watch.released(600, "last", completion("400: no"))


def _held(*, answered: bool) -> RefusalWatch:
    watch = RefusalWatch(answered=answered)
    for number in range(500):
        watch.released(number, "a", completion("content_filter"))
    return watch
