"""The documentation as a site: all pages in the navigation, all public names in the reference, and links that hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

import ngrpo
from tests.project.doc_blocks import PAGES, ROOT, parse

CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
API = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.md"))
SHOWN = set(re.findall(r"^::: ([\w.]+)$", API, flags=re.MULTILINE))
ADAPTERS = {
    "trl": ("NGRPOTrainer",),
    "trl_config": ("NGRPOConfig",),
    "verl": ("register", "token_level_advantages"),
    "verl_sampler": ("GroupSampler",),
    "skyrl": ("register", "estimator"),
    "slime": ("rewards_to_advantages", "keep_group", "advantages"),
}


def pages_in(nav: Any) -> Iterator[str]:
    for entry in nav if isinstance(nav, list) else nav.values():
        if isinstance(entry, str):
            yield entry
        else:
            yield from pages_in(entry)


def links(page: Path) -> Iterator[str]:
    for token in parse(page):
        for child in token.children or ():
            target = child.attrs.get("href") or child.attrs.get("src")
            if target and not re.match(r"https?:", target):
                yield target


def slugs(page: Path) -> set[str]:
    """Returns the anchors of a page's headings that are the same on the site and on a code host."""
    tokens = parse(page)
    titles = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    words = [re.sub(r"[^\w\s-]", "", title).strip().lower() for title in titles]
    on_the_site, on_a_code_host = ({re.sub(gap, "-", text) for text in words} for gap in (r"[-\s]+", r"\s"))
    return on_the_site & on_a_code_host


def test_every_page_is_in_the_navigation_once() -> None:
    named = list(pages_in(CONFIG["nav"]))
    assert sorted(named) == sorted(str(page.relative_to(ROOT)) for page in PAGES)


def test_the_site_asks_nobody_for_anything() -> None:
    assert CONFIG["theme"]["font"] is False
    assert "analytics" not in CONFIG.get("extra", {})
    assert "extra_javascript" not in CONFIG
    assert not re.search(r"@import|url\(", (ROOT / "docs" / "site.css").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ngrpo.__all__)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    module = next(module for module, names in ngrpo._MODULES.items() if name in names)
    families = {f"ngrpo.advantages.{path.stem}" for path in (ROOT / "src/ngrpo/advantages").glob("*.py")}
    home = getattr(getattr(ngrpo, name), "__module__", "")
    assert f"{module}.{name}" in SHOWN or home in SHOWN & families


@pytest.mark.parametrize("module", ADAPTERS)
def test_every_adapter_is_in_the_reference(module: str) -> None:
    for name in ADAPTERS[module]:
        assert f"ngrpo.adapters.{module}.{name}" in SHOWN
    source = (ROOT / "src" / "ngrpo" / "adapters" / f"{module}.py").read_text(encoding="utf-8")
    shown = {name.rpartition(".")[2] for name in SHOWN if name.startswith(f"ngrpo.adapters.{module}.")}
    assert all(re.search(rf"^(?:def|class) {name}\b", source, flags=re.MULTILINE) for name in shown)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_one_title_and_links_that_hold(page: Path) -> None:
    titles = [token for token in parse(page) if token.type == "heading_open" and token.tag == "h1"]
    assert len(titles) == 1
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in slugs(target), f"{page.name} links to {link}"


def test_the_makefile_copies_what_the_pages_link_to() -> None:
    copied = re.search(r"cp -r (.*) build/docs/", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert copied is not None
    for page in PAGES:
        for link in links(page):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target != page.parent:
                assert target.relative_to(ROOT).parts[0] in copied[1].split(), f"{page.name} links to {link}"
