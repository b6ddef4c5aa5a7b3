# SPDX-License-Identifier: Apache-2.0
"""The documentation points at what is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
#: ``[text](target)`` and ``![text](target)``.
LINK = re.compile(r"\]\(([^)\s]+)\)")


def _links(page: Path) -> Iterator[tuple[Path, str]]:
    """Yield the file and the heading's anchor of each link that leads to a file of the project."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in LINK.findall(text):
        if not target.startswith(("http://", "https://", "mailto:")):
            path, _, anchor = target.partition("#")
            yield (page.parent / path if path else page), anchor


def _anchors(page: Path) -> set[str]:
    """Names under which GitHub knows the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_are_found() -> None:
    assert sum(len(list(_links(page))) for page in PAGES) > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_and_image_of_a_page_exists(page: Path) -> None:
    for target, anchor in _links(page):
        assert target.exists(), f"{target} is missing"
        assert not anchor or anchor in _anchors(target), f"{target} has no heading '{anchor}'"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    """In backticks, by its path within the package or the project."""
    for name in re.findall(r"`([\w/]+\.py)`", page.read_text("utf-8")):
        assert any((folder / name).exists() for folder in (ROOT, ROOT / "anomalib_scdae", page.parent)), name
