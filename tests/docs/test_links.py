"""Every link of README and docs leads to something that is there."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?(?: \"(\w+)\")?\)")
"""What a link leads to: a file, a heading in it, the test that its title names."""


def links(page: Path) -> list[tuple[Path, str, str]]:
    """Return the links of a page that lead to files, as files, headings and titles."""
    text = page.read_text(encoding="utf-8")
    return [
        (page.parent / file if file else page, heading, title)
        for file, heading, title in LINK.findall(text)
        if "://" not in file
    ]


def anchors(page: Path) -> set[str]:
    """Return what leads to the headings of a page."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one).replace(" ", "-").lower() for one in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert [
        (file.name, heading)
        for file, heading, _ in links(page)
        if not file.exists() or (heading and heading not in anchors(file))
    ] == []


def test_every_link_is_understood() -> None:
    every = re.findall(r"\]\(", "".join(page.read_text("utf-8") for page in PAGES))
    understood = [
        one for page in PAGES for one in LINK.findall(page.read_text("utf-8"))
    ]

    assert len(understood) == len(every)


def test_tests_that_links_name_are_in_the_files_that_they_lead_to() -> None:
    named = [(file, test) for page in PAGES for file, _, test in links(page) if test]

    assert len(named) > 30
    assert [
        (file.name, test)
        for file, test in named
        if f"def {test}(" not in file.read_text(encoding="utf-8")
    ] == []


def test_each_line_on_who_and_why_names_its_test() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [table] = re.findall(r"^\| situation .*\n\|.*\n((?:\|.*\n)+)", readme, re.MULTILINE)

    assert [
        line
        for line in table.splitlines()
        if not any(title for *_, title in LINK.findall(line))
    ] == []


def test_each_guarantee_links_to_a_test() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [table] = re.findall(r"^\| guarantee .*\n\|.*\n((?:\|.*\n)+)", readme, re.MULTILINE)

    assert [line for line in table.splitlines() if "(tests/" not in line] == []


def test_every_page_of_the_docs_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert [page.name for page in PAGES[1:] if f"docs/{page.name}" not in readme] == []
