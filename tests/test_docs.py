# SPDX-License-Identifier: Apache-2.0
"""The documentation points at what is there, and the examples in docstrings run."""

import doctest
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "anomalib_scdae"
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
        assert any((folder / name).exists() for folder in (ROOT, PACKAGE, page.parent)), name


def _drawn() -> set[str]:
    """Paths of the tree that ``docs/development.md`` draws, each a line below the folder that it is indented under."""
    tree = re.search(r"```text\n(.*?)```", (ROOT / "docs/development.md").read_text("utf-8"), flags=re.DOTALL)
    assert tree is not None
    above: list[str] = []
    paths = set()
    for line in tree[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        above = [*above[:depth], line.split()[0].rstrip("/")]
        paths.add("/".join(above))
    return paths


def test_the_drawing_shows_every_room_and_every_file_of_the_model() -> None:
    rooms = {path for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    files = set((PACKAGE / "model").rglob("*.py"))
    folders = {file.parent for file in files}
    shown = {path.relative_to(ROOT).as_posix() for path in {PACKAGE} | rooms | files | folders if "__" not in path.name}
    assert _drawn() == shown


EXAMPLES = [file for file in sorted(PACKAGE.rglob("*.py")) if ">>> " in file.read_text("utf-8")]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_examples_of_docstrings_run(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but those that take long and say so by ``+SKIP``."""
    monkeypatch.chdir(tmp_path)
    module = import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
    results = doctest.testmod(module)
    assert results.attempted
    assert not results.failed
