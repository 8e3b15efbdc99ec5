"""Code in README and docs: Python runs, commands are those of the parser, configs load; other blocks say why not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from ngrpo.config import apply_overrides, config_of
from ngrpo.config.loading import read_tables
from ngrpo.study.study_config import load_study
from tests.project.doc_blocks import PAGES, ROOT, SHELL, Block, blocks, inline_commands, options, shell_commands

LANGUAGES = {"bash", "json", "jsonl", "python", "text", "toml", "yaml"}
CODE = re.compile(r"^(?:ngrpo|pip|python|make|import|from|def|class) ", flags=re.MULTILINE)
BASE = {"model": {"path": "builtin:countdown-base"}, "task": {"name": "countdown"}}
"""What a config must have, for blocks that show other tables."""
SHIPPED = "configs/countdown/ngrpo.toml"
ALL = [block for page in PAGES for block in blocks(page)]
CHECKED = [block for block in ALL if not block.note.startswith(("not run: ", "run by "))]
RUNNER = """
import json, pathlib, sys, traceback, types
failed = []
sys.path.insert(0, "")
for page, texts in json.load(sys.stdin):
    module = types.ModuleType("page_" + pathlib.Path(page).stem)
    sys.modules[module.__name__] = module
    for where, code in texts:
        try:
            exec(compile(code, where, "exec"), module.__dict__)
        except BaseException:
            failed.append(where + ": " + traceback.format_exc(limit=-1))
print(json.dumps(failed))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder in which the repository's relative paths hold, and which can be written to."""
    for name in ("benchmarks", "configs", "docs", "examples", "scripts", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def of(*languages: str) -> list[Block]:
    return [block for block in CHECKED if block.language in languages]


def test_every_block_has_a_language_and_every_exception_a_reason() -> None:
    for block in ALL:
        assert block.language in LANGUAGES or not block.language, f"{block.where}: {block.language!r}"
        assert block.language or not CODE.search(block.code), f"{block.where}: code without a language"
        if block.note.startswith("run by "):
            assert (ROOT / block.note.removeprefix("run by ")).is_file(), f"{block.where}: {block.note}"
    assert len(ALL) - len(CHECKED) < len(CHECKED) / 2


def test_python_runs(checkout: Path) -> None:
    pages: dict[str, list[tuple[str, str]]] = {}
    for block in of("python"):
        pages.setdefault(str(block.page), []).append((block.where, block.code))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path[1:])}
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps(list(pages.items())),
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_configs_load(tmp_path: Path) -> None:
    for block in of("toml"):
        tables = tomllib.loads(block.code)
        try:
            if "study" in tables:
                (tmp_path / "study.toml").write_text(block.code, encoding="utf-8")
                load_study(tmp_path / "study.toml")
            else:
                config_of({**BASE, **tables})
        except ValueError as error:
            pytest.fail(f"{block.where}: {error}")
    for block in of("yaml"):
        yaml.safe_load(block.code)
    for block in of("json"):
        json.loads(block.code)
    for block in of("jsonl"):
        assert all(isinstance(json.loads(line), dict) for line in block.code.splitlines()), block.where


def test_commands_are_those_of_the_parser(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    checked = 0
    for block in CHECKED:
        if block.title:
            (checkout / block.title).write_text(block.code, encoding="utf-8")
        if block.language == "bash":
            subprocess.run(["bash", "-n"], input=block.code, text=True, check=True)
            for words in shell_commands(block.code):
                checked += check_command(words, block.where)
    assert checked > 30


def test_commands_in_sentences_are_those_of_the_parser(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    found = [pair for page in PAGES for pair in inline_commands(page)]
    for where, text in found:
        for words in shell_commands(re.sub(r"\.\.\.|[\[\]]", "", text)):
            if len(words) > 2:  # else a command's name
                check_command(words, where, whole=False)
    assert len(found) > 80


def check_command(words: list[str], where: str, *, whole: bool = True) -> int:
    """Checks one command of the shell; returns 1 for a command of ours."""
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    program, *arguments = words or ["cd"]
    if program == "ngrpo":
        check_ours(arguments, where, whole=whole)
        return 1
    if program == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
        assert set(arguments) <= targets, f"{where}: {words}"
    elif program.startswith("python"):
        assert arguments[0] == "-m" or Path(arguments[0]).is_file(), f"{where}: no file {arguments[0]}"
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
            "optional-dependencies"
        ]
        named = {name for word in arguments for found in re.findall(r"\[(.*)\]", word) for name in found.split(",")}
        assert named <= set(extras), f"{where}: {words}"
    else:
        assert program in SHELL, f"{where}: unknown command {program!r}"
    return 0


def check_ours(arguments: list[str], where: str, *, whole: bool) -> None:
    try:
        given = options(arguments)
        config = Path(given["config"]) if "config" in given else None
        if config is not None and config.parts[0] == "configs":
            assert list(Path().glob(str(config).replace("METHOD", "*"))), f"{where}: no file {config}"
        if given.get("overrides") is not None:
            path = config if config is not None and config.suffix == ".toml" and config.is_file() else Path(SHIPPED)
            tables = read_tables(path)
            study = tables.pop("study", None)
            apply_overrides(tables, [text for text in given["overrides"] if "=" in text])
            assert study or config_of(tables)
    except AssertionError:
        raise
    except Exception as error:  # noqa: BLE001  # the parser's usage errors have no common public class
        if whole or "Missing parameter" not in str(error):  # a sentence may leave arguments out
            pytest.fail(f"{where}: ngrpo {' '.join(arguments)}: {error}")
