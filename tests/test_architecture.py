# SPDX-License-Identifier: Apache-2.0
"""What is imported: by each room only what lies below it, nothing in circles, nothing that is not declared."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT

PACKAGE = "anomalib_scdae"

_BASE = {"errors", "files", "image_files", "quantiles", "sentences"}
#: What each room may import, itself aside. ``docs/development.md`` draws the same.
ROOMS = {
    "errors": set[str](),
    "files": {"errors"},
    "image_files": {"errors"},
    "quantiles": {"errors"},
    "sentences": set(),
    "inputs": _BASE,
    "metrics": _BASE,
    "data": _BASE,
    "distill": _BASE | {"inputs"},
    "model": _BASE | {"inputs", "metrics"},
    "gallery": _BASE | {"inputs", "metrics", "model"},
    "benchmark": _BASE | {"inputs", "metrics", "model", "gallery", "data", "distill"},
    # At the top; both name what they need as text and import it when it is asked for.
    "plugin": {"command_line"},
    "command_line": {"errors", "sentences"},
    "cli": {"errors", "sentences", "plugin"},
    # The package itself gives SCDAE and SyntheticLOCO when they are asked for.
    "": {"plugin", "model", "data"},
}

#: How the package's version is asked for, which every room may do.
_VERSION = {PACKAGE, f"{PACKAGE}.__version__"}

#: Extras that bring what the package imports; the others are for its developers.
EXTRAS = ("openvino", "backbone", "ray")

#: Distributions whose name is not that of the module that they bring.
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


def _imported(tree: ast.AST) -> Iterator[str]:
    """Yield what is imported anywhere in ``tree``, also within functions and for type checkers only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            # What is imported may be a module or something in one.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def _trees() -> dict[str, ast.Module]:
    """The package's modules, parsed, by their names within the package; its own ``__init__`` is ``""``."""
    found = {}
    for file in (ROOT / PACKAGE).rglob("*.py"):
        parts = file.relative_to(ROOT / PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = ast.parse(file.read_text("utf-8"))
    return found


@cache
def _own_imports() -> dict[str, set[str]]:
    """Which of the package's modules each one imports."""
    modules = _trees()

    def home(name: str) -> str:
        """The module that ``name`` is or lies in."""
        return name if name in modules else name.rpartition(".")[0]

    return {
        module: {
            home(name.removeprefix(PACKAGE).removeprefix("."))
            for name in _imported(tree)
            if name.split(".")[0] == PACKAGE and name not in _VERSION
        }
        - {module}
        for module, tree in modules.items()
    }


def _circles(imports: dict[str, set[str]]) -> set[frozenset[str]]:
    """The largest groups of modules in which each imports, directly or not, every other."""

    def reachable(start: str) -> set[str]:
        found, waiting = set[str](), [start]
        while waiting:
            new = imports[waiting.pop()] - found
            found |= new
            waiting += new
        return found

    reach = {module: reachable(module) for module in imports}
    return {
        frozenset(other for other in reach[module] if module in reach[other])
        for module in imports
        if module in reach[module]
    }


def test_circles_are_found() -> None:
    imports = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e"}, "e": {"d"}, "f": {"a", "e"}}
    assert _circles(imports) == {frozenset("abc"), frozenset("de")}


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert _circles(_own_imports()) == set()


def test_every_room_has_its_place() -> None:
    assert {module.split(".")[0] for module in _trees()} == set(ROOMS)
    assert not _circles({room: below - {room} for room, below in ROOMS.items()})


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_below_it(room: str) -> None:
    above = {
        (module, other)
        for module, others in _own_imports().items()
        for other in others
        if module.split(".")[0] == room and other.split(".")[0] not in ROOMS[room] | {room}
    }
    assert not above


def test_no_test_module_imports_another() -> None:
    """What several of them need is in ``conftest.py`` or in a module of its own that holds no tests."""
    tests = ROOT / "tests"
    importing = {
        file.relative_to(tests).as_posix()
        for file in tests.rglob("test_*.py")
        if any(name.startswith("tests.") and ".test_" in name for name in _imported(ast.parse(file.read_text("utf-8"))))
    }
    assert importing == set()


def _project() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11 on
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def _needed() -> dict[str, Requirement]:
    """What every installation brings, by name."""
    return _by_name(_project()["dependencies"])


def _optional() -> dict[str, Requirement]:
    """What only an extra brings, by name."""
    extras = _project()["optional-dependencies"]
    return _by_name([line for name in EXTRAS for line in extras[name]])


def _by_name(lines: list[str]) -> dict[str, Requirement]:
    return {_canonical(requirement.name): requirement for requirement in map(Requirement, lines)}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _distributions(tree: ast.AST) -> set[str]:
    """Names of the distributions that ``tree`` imports from."""
    names = {name.split(".")[0] for name in _imported(tree)} - sys.stdlib_module_names - {PACKAGE}
    return {_canonical(DISTRIBUTIONS.get(name, name)) for name in names}


def test_every_import_is_a_declared_dependency() -> None:
    imported = set().union(*map(_distributions, _trees().values()))
    assert imported <= {*_needed(), *_optional()}


def test_what_only_an_extra_brings_is_imported_where_it_is_needed() -> None:
    """Not at the top of a module, whose import would then fail without the extra."""
    needed = set(_needed())
    for module, tree in _trees().items():
        top = ast.Module([node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))], [])
        assert _distributions(top) <= needed, module


def test_every_dependency_has_a_lower_bound() -> None:
    for name, requirement in {**_needed(), **_optional()}.items():
        assert any(bound.operator == ">=" for bound in requirement.specifier), name
