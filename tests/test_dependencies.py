"""The requirements are pinned, the locks hold what they ask for, and every direct dependency is explained."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = {
    "requirements.txt": "requirements.lock",
    "requirements-local.txt": "requirements-dev.lock",
    "requirements-dev.txt": "requirements-dev.lock",
    "requirements-training.txt": "requirements-training.lock",
    "requirements-clients.txt": "requirements-clients.lock",
    "requirements-clients-v3.txt": "requirements-clients-v3.lock",
    "requirements-provider.txt": "requirements-provider.lock",
}
HEADINGS = {"dependency", "---"}
PINNED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[a-z0-9,]+\])?==(?P<version>[^\s;]+)(\s*;.*)?")


def _normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _read_lines(name: str) -> Iterator[str]:
    for line in (ROOT / name).read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text and not text.startswith("-r "):
            yield text


def _read_pins(name: str) -> dict[str, set[str]]:
    """Every version of each package: a lock has several where they depend on the Python."""
    pins: dict[str, set[str]] = {}
    for line in _read_lines(name):
        match = PINNED.fullmatch(line)
        assert match, f"{name}: {line!r} is not pinned"
        pins.setdefault(_normalise(match["name"]), set()).add(match["version"])
    return pins


def _list_explained(requirements: str) -> dict[str, tuple[str, str]]:
    text = (ROOT / "docs" / "dependencies.md").read_text()
    section = text.split(f"\n## {requirements}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\S+) \| (.+) \| (.+) \|$", section, re.MULTILINE)
    return {_normalise(name): (purpose, instead) for name, purpose, instead in rows if name not in HEADINGS}


@pytest.mark.parametrize("requirements", LOCKS)
def test_the_lock_holds_the_very_versions_that_are_required(requirements: str) -> None:
    locked = _read_pins(LOCKS[requirements])
    for name, versions in _read_pins(requirements).items():
        assert locked[name] == versions, name


@pytest.mark.parametrize("requirements", LOCKS)
def test_every_direct_dependency_is_explained_and_nothing_else_is(requirements: str) -> None:
    explained = _list_explained(requirements)
    assert explained.keys() == _read_pins(requirements).keys()
    assert all(len(purpose) > 5 and len(instead) > 5 for purpose, instead in explained.values())


def test_the_demo_and_the_image_run_the_same_versions() -> None:
    everything = _read_pins("requirements-dev.lock")
    for name, versions in _read_pins("requirements.lock").items():
        assert everything[name] == versions, name


def test_training_and_evaluation_use_the_same_xgboost() -> None:
    image, training = _read_pins("requirements.txt"), _read_pins("requirements-training.txt")
    assert image["xgboost-cpu"] == training["xgboost-cpu"]


@pytest.mark.parametrize("lock", sorted(set(LOCKS.values())))
def test_a_lock_names_no_address(lock: str) -> None:
    assert "://" not in (ROOT / lock).read_text()
    assert "--" not in (ROOT / lock).read_text()
