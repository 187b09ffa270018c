"""The tests lie as the package does, and share helpers by fixtures and support modules, not by each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "plugins" / "spot_training"
#: Runs with the code of an earlier release, and with that release's tests.
OF_A_RELEASE = TESTS / "ledger" / "fixtures" / "make.py"


def _package_of(path: Path) -> str:
    return ".".join(("tests", *path.relative_to(TESTS).parts[:-1]))


def _imported(tree: ast.AST, package: str) -> Iterator[tuple[str, str]]:
    """(module, name) of everything that is imported from the tests, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: -(node.level - 1) or None] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)


def _faults(text: str, package: str) -> list[str]:
    """What a file in the package `tests.…` imports and should not."""
    return [
        f"{module}: {name}"
        for module, name in _imported(ast.parse(text), package)
        if module.split(".")[0] == "tests"
        and (name.startswith("_") or any(part.startswith("test_") for part in (*module.split("."), name)))
    ]


@pytest.mark.slow
def test_no_test_imports_from_another_test_and_no_private_name() -> None:
    found = [
        f"{path.relative_to(TESTS)} imports {fault}"
        for path in sorted(TESTS.rglob("*.py"))
        if path != OF_A_RELEASE
        for fault in _faults(path.read_text(encoding="utf-8"), _package_of(path))
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "from . import test_driver",
        "from .test_driver import HOUR",
        "from tests.training.test_driver import HOUR",
        "import tests.training.test_driver",
        "from .support import _config",
        "from tests.cloud import _config",
        "def test_it():\n    from tests.domain.test_savings import job",
    ],
)
def test_each_way_to_import_from_a_test_is_seen(line: str) -> None:
    assert _faults(line, "tests.training")
    assert not _faults(
        "from .support import Task\nfrom spot_training.approval import _Terms", "tests.training"
    )


def test_every_folder_of_the_package_has_one_of_tests() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders
    assert [name for name in sorted(folders) if not list((TESTS / name).glob("test_*.py"))] == []


@pytest.mark.slow
def test_no_browser_outlives_its_module() -> None:
    """While one runs, its thread has an event loop, in which another test cannot start one."""
    functions = [
        (path.name, node)
        for path in TESTS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    with_browser = [(name, node) for name, node in functions if "chromium(" in ast.unparse(node)]
    scoped = [
        (name, node.name)
        for name, node in with_browser
        if any("scope='session'" in ast.unparse(each) for each in node.decorator_list)
    ]
    assert len(with_browser) > 2
    assert scoped == []
