"""One word for each thing: no former word in options, keys, documentation and messages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORMER = {
    # `verifiers` is the name of a package.
    "grader": r"\bverifier\b|\bjudge[sd]?\b|\bjudgements?\b|--policy\b|--verifier\b",
    "sampler": r"--engine (?:transformers|vllm|endpoint)\b|\[sampling\] engine\b",
    "sample": r"\bdraw(?:s|n|ing)? (?:a |the |all |n |\w+ )?(?:completion|token|sample|answer|problem)s?\b|\bredrawn\b",
    "plain English": r"\bsaid once\b|\banew\b|\bhangs on\b|\bis there twice\b",
}
PAGES = [
    path
    for path in (*(ROOT / "docs").glob("**/*.md"), *ROOT.glob("*.md"))
    if path.name not in ("log.md", "CHANGELOG.md")
]


def messages(path: Path) -> Iterator[str]:
    """Every string of a module that is not a docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


@pytest.mark.parametrize("word", FORMER)
def test_pages_use_the_present_words(word: str) -> None:
    found = [
        f"{page.name}:{number}: {line.strip()[:100]}"
        for page in PAGES
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(FORMER[word], line)
    ]
    assert found == []


@pytest.mark.parametrize("word", FORMER)
def test_messages_and_options_use_the_present_words(word: str) -> None:
    renamed = {"verifier", "--policy", "--verifier"}  # old keys and options, for the line that names the new ones
    found = [
        f"{path.name}: {text[:100]}"
        for path in (ROOT / "src").rglob("*.py")
        for text in messages(path)
        if text not in renamed and "\\" not in text and re.search(FORMER[word], text)
    ]
    assert found == []
