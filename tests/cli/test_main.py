"""Errors become one line and an exit status; nothing heavy is imported for --help."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ngrpo.cli import main as main_module
from ngrpo.cli.main import app
from ngrpo.errors import ConfigError, DataError, MissingDependencyError

HEAVY = ("torch", "transformers", "sympy", "vllm", "trl", "verl", "ray", "datasets", "math_verify", "pandas")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Usage"),
        (("fly",), "fly"),
        (("train",), "CONFIG"),
        (("train", "x.toml", "--speed", "9"), "--speed"),
        (("passk",), "FILE"),
        (("advantages", "--group-size", "many"), "--group-size"),
    ],
)
def test_wrong_usage_has_status_2(run, arguments, said):
    outcome = run(*arguments)
    assert outcome.status == 2
    assert said.lower() in (outcome.err + outcome.out).lower()
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("two\nlines"), 2),
        (DataError("a row"), 1),
        (MissingDependencyError("peft", "peft", "[model.lora]"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_are_one_line_with_their_status(run, monkeypatch, error, status):
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(main_module, "app", fail)
    outcome = run("train")
    assert outcome.status == status
    assert outcome.err.startswith("ngrpo: ")
    assert outcome.err.count("\n") == 1


def test_a_bug_keeps_its_traceback(monkeypatch):
    def fail(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(main_module, "app", fail)
    with pytest.raises(ZeroDivisionError):
        main_module.main([])


def test_every_command_has_help(run):
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__
        outcome = run(name, "--help")
        assert outcome.status == 0
        assert "Usage" in outcome.out


def test_help_imports_nothing_heavy():
    out = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ngrpo", "--help"], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in out.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & set(HEAVY)
