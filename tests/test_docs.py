"""What README.md and docs/ point at is there, what they show can be read, and no setting is left out."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "packages").glob("*/README.md")),
]
GUIDE = ROOT / "CONTRIBUTING.md"
_FENCED = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:)([^)\s#]*)(?:#([^)\s]*))?\)")
_SETTING = re.compile(r"settings\.(?:text|flag|number)\(\s*\"(\w+)\"")


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", _without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _without_code(page: Path) -> str:
    return re.sub(r"`[^`\n]*`", lambda code: code[0].replace("]", " "), _FENCED.sub("", page.read_text()))


def _blocks(page: Path, language: str) -> list[str]:
    return [code for name, code in _FENCED.findall(page.read_text()) if name == language]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for path, anchor in _LINK.findall(_without_code(page)):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {path}"
        assert not anchor or anchor in _anchors(target), f"{page.name} links to {path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_example_can_be_read(page: Path) -> None:
    for code in _blocks(page, "python"):
        ast.parse(code)
    for code in _blocks(page, "yaml"):
        assert yaml.safe_load(code)
    for code in _blocks(page, "json"):
        assert json.loads(code)


def test_every_file_that_the_guide_for_contributors_names_is_there() -> None:
    folders = ("plugins", "packages", "tests", "docs")
    names = {path.name for folder in folders for path in (ROOT / folder).rglob("*.*")}
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w.-]+\.(?:md|py|toml|txt))`", GUIDE.read_text())
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists() and path not in names] == []


def test_every_test_and_name_that_the_guide_for_contributors_names_is_in_the_code() -> None:
    text = GUIDE.read_text()
    names = set(re.findall(r"`(test_\w+|[A-Z_]{5,}|_[A-Z_]+|[a-z_]+_of|what_happened|_end_of)`", text))
    assert len(names) > 8
    folders = ("plugins", "packages", "include", "tests")
    code = "\n".join(path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py"))
    assert [name for name in names if not re.search(rf"\b{name}\b", code)] == []


def test_every_setting_is_in_the_reference() -> None:
    told = (ROOT / "docs" / "reference" / "settings.md").read_text()
    code = [path.read_text() for room in ("plugins", "dags") for path in (ROOT / room).rglob("*.py")]
    read = {name for text in code for name in _SETTING.findall(text)}
    assert len(read) > 5
    assert read == set(re.findall(r"^## (\w+)$", told, re.MULTILINE))
