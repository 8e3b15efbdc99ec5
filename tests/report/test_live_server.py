"""`--live`: the page of this machine alone, renewed when the run moves on, by itself unless somebody is reading."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from ngrpo.errors import ConfigError
from ngrpo.report import live_server
from ngrpo.report.live_server import LiveServer
from tests.report.headless import Browser


@pytest.fixture
def run(two_runs: list[Path], tmp_path: Path) -> Path:
    shutil.copytree(two_runs[0], tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    return tmp_path / "run"


@pytest.fixture
def server(run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    monkeypatch.setattr(live_server, "SECONDS", 1)
    with LiveServer([run]) as opened:
        thread = threading.Thread(target=opened.serve)
        thread.start()
        yield opened
        opened.stop()
        thread.join()


def asked(server: LiveServer, path: str, host: str = "") -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{server.port}"})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def next_step(run: Path, step: int) -> None:
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({**line, "step": step}) + "\n")


def test_only_this_machine_is_answered_and_only_what_there_is(server: LiveServer, run: Path):
    assert server.address.startswith("http://127.0.0.1:")
    assert asked(server, "/version") == (200, server.version())
    assert asked(server, "/version", "evil.example")[0] == 403
    assert asked(server, "/../config.json")[0] == 404
    before = server.version()
    next_step(run, 4)
    assert server.version() != before


def test_a_page_renews_itself_unless_a_group_is_open(server: LiveServer, run: Path, browser: Browser):
    browser.open(server.address)
    steps = "document.querySelector('#runs td.number').textContent"
    assert browser.evaluate(steps) == "3 of 3"
    browser.evaluate("window.old = true")
    next_step(run, 4)
    browser.wait(
        f"document.documentElement?.dataset.charts !== undefined && window.old === undefined && {steps} === '4 of 3'"
    )
    browser.evaluate("document.querySelector('.group').click(); window.old = true")
    next_step(run, 5)
    browser.wait("document.getElementById('news') !== null")
    assert browser.evaluate("window.old && document.querySelectorAll('.opened').length") == 1
    assert browser.errors == []
    assert {url.removeprefix(server.address) for url in browser.requests} <= {"version"}


def test_a_port_in_use_and_a_wrong_folder_are_one_line(server: LiveServer, run: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=f"--port {server.port} cannot be used"):
        LiveServer([run], server.port)
    with pytest.raises(ConfigError, match="no such folder"):
        LiveServer([tmp_path / "nothing"])
