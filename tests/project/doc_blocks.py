"""Code in the documentation: where it is, and how a line of it is checked without being run.

A block is checked by its language (test_doc_blocks.py). A comment before it says otherwise:

    <!-- not run: REASON -->        not checked, because ...
    <!-- run by tests/PATH.py -->   checked by that test

A title in the fence's info string (toml title="run.toml") names the file that a reader writes: the commands below find
it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import typer
from markdown_it import MarkdownIt

from ngrpo.cli.main import app
from ngrpo.cli.train import with_values

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
COMMAND: Any = typer.main.get_command(app)
SHELL = {"cd", "cp", "export", "git", "head", "ls", "mkdir", "ray", "source"}
"""Other people's commands, of which only the name is checked."""


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    title: str
    code: str
    note: str
    """The comment before it, without its brackets."""

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def parse(page: Path) -> list[Any]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def blocks(page: Path) -> Iterator[Block]:
    """Yields the code blocks of a page; indented ones have the language ``."""
    note = ""
    for token in parse(page):
        if token.type in ("fence", "code_block"):
            language, _, options = token.info.partition(" ")
            title = re.search(r'title="([^"]+)"', options)
            yield Block(page, token.map[0] + 1, language, title[1] if title else "", token.content, note)
        comment = re.fullmatch(r"\s*<!-- (.*?) -->\s*", token.content) if token.type == "html_block" else None
        note = comment[1] if comment else ""


def inline_commands(page: Path) -> Iterator[tuple[str, str]]:
    """Yields (where, command) for code spans that are a whole `ngrpo COMMAND ...`."""
    names = "|".join(COMMAND.commands)
    for token in parse(page):
        for child in token.children or ():
            if child.type == "code_inline" and re.match(rf"ngrpo (?:{names})\b", child.content):
                line = token.map[0] + 1 if token.map else 0
                yield f"{page.relative_to(ROOT)}:{line}", child.content


def shell_commands(code: str) -> Iterator[list[str]]:
    """Yields the simple commands of a script as words, without comments, pipes and redirections."""
    for line in code.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&")
        lexer.whitespace_split = True
        words: list[str] = []
        skip = False
        for word in lexer:
            if set(word) <= set("<>"):
                skip = True  # the file of a redirection
            elif set(word) <= set("();|&"):
                if words:
                    yield words
                words = []
            elif skip:
                skip = False
            else:
                words.append(word)
        if words:
            yield words


def options(arguments: list[str]) -> dict[str, Any]:
    """Returns what the command line's own parser reads from `ngrpo ...`; an unknown option or value is an error."""
    name, *rest = with_values(arguments) if arguments[:1] == ["train"] else arguments
    with COMMAND.commands[name].make_context(name, rest) as context:
        return dict(context.params)
