"""The documentation holds together: links lead somewhere, files that are named exist, each page can be reached."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
FOLDERS = ("wire", "gateway", "edge_worker", "docs", "tests", "certs", "demo", "bench")
NAMED_FILE = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]+\.(?:py|md|toml|sh|pb|txt))`")
NAMED_PAGE = re.compile(r"docs/[a-z]+/[a-z0-9_-]+\.md")
KINDS = ("tutorial", "howto", "reference", "explanation")


def files(*suffixes: str) -> list[Path]:
    """Files of the repository, in its root and in FOLDERS."""
    found = [*ROOT.iterdir(), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))]
    return sorted(path for path in found if path.suffix in suffixes and path.is_file())


def pages() -> list[Path]:
    return files(".md")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """The page without its fenced code, where brackets and hashes mean something else."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The headings as the hosts of Markdown name them: lower case, no punctuation, spaces as hyphens."""
    headings = re.findall(r"^#+ +(.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).strip().replace(" ", "-") for one in headings}


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Target file and anchor of each link inside the repository."""
    for plain, image in LINK.findall(prose(page)):
        target, _, anchor = (plain or image).partition("#")
        if not re.match(r"[a-z]+:", target):
            yield (page.parent / target).resolve() if target else page, anchor


@pytest.mark.parametrize("page", pages(), ids=name)
def test_each_link_leads_somewhere(page: Path) -> None:
    """A link to a file finds the file, and one to a heading finds the heading."""
    for target, anchor in links(page):
        assert target.exists(), f"{name(page)} links to {target}, which is not there"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{name(page)} links to #{anchor}, which {name(target)} does not have"


@pytest.mark.parametrize("page", pages(), ids=name)
def test_each_file_that_is_named_exists(page: Path) -> None:
    """A path in the text, such as `wire/frames.py`, is one of the repository's files."""
    for file in NAMED_FILE.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / file).is_file(), f"{name(page)} names {file}, which is not there"


def test_each_page_that_the_source_names_exists() -> None:
    """A comment that says where something is written names a page that is there."""
    for path in files(".py", ".toml", ".cfg", ".sh"):
        for page in NAMED_PAGE.findall(path.read_text(encoding="utf-8")):
            assert (ROOT / page).is_file(), f"{name(path)} names {page}, which is not there"


def test_each_page_can_be_reached_from_the_readme() -> None:
    """No page is an orphan: following links from README.md finds every page under docs/."""
    reached, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page not in reached and page.suffix == ".md" and page.is_file():
            reached.add(page)
            ahead.extend(target for target, _ in links(page))
    lost = {name(page) for page in pages() if page.is_relative_to(ROOT / "docs")} - set(map(name, reached))
    assert not lost


def test_each_page_is_of_one_kind() -> None:
    """docs/ holds the four kinds of page and the glossary, and nothing beside them."""
    for page in pages():
        parts = page.relative_to(ROOT).parts
        if parts[0] == "docs" and parts[1:] != ("glossary.md",):
            assert parts[1] in KINDS, f"{name(page)} is none of {KINDS}"
            assert len(parts) == 3


@pytest.mark.parametrize("page", pages(), ids=name)
def test_each_make_command_is_a_target(page: Path) -> None:
    """What a page tells the reader to type after `make` is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    typed = re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(typed) <= targets, f"{name(page)}: no such target: {set(typed) - targets}"
