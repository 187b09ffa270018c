"""Requirements are pinned, locks hold them with hashes, and every direct dependency is explained."""

from __future__ import annotations

import re
import tomllib
from datetime import date
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.licenses import license_of

ROOT = Path(__file__).parents[1]
GROUPS = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
# Other groups include it. It has no lock and names no versions, which come from the time of each Airflow.
SHARED = "with-earlier-airflow"
# The lock of each set of direct dependencies: `requirements.txt` is a file, the others are dependency groups.
LOCKS = {
    "requirements.txt": "requirements.lock",
    **{group: f"locks/{group}.lock" for group in GROUPS if group != SHARED},
}
# The CPU wheels of PyTorch are in no lock that scripts/lock makes.
TORCH = "locks/torch-cpu.lock"
EARLIER_AIRFLOWS = [group for group in GROUPS if group.startswith("airflow-")]
HEADINGS = {"dependency", "---"}
PINNED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[a-z0-9,]+\])?==(?P<version>[^\s;]+)(\s*;.*)?")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def _normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _list_direct(name: str) -> list[str]:
    """The dependencies that are written down under this name, without those of a group that it includes."""
    if name in GROUPS:
        return [entry for entry in GROUPS[name] if isinstance(entry, str)]
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [line for line in lines if line]


def _list_included(group: str) -> list[str]:
    return [entry["include-group"] for entry in GROUPS[group] if not isinstance(entry, str)]


def _read_lock(lock: str) -> dict[str, list[str]]:
    """Each locked requirement with its hashes."""
    text = re.sub(r"^#.*\n", "", (ROOT / lock).read_text(), flags=re.MULTILINE)
    entries = [line.split() for line in text.replace("\\\n", " ").splitlines()]
    return {
        " ".join(word for word in words if not word.startswith("--")): [
            word for word in words if word.startswith("--")
        ]
        for words in entries
    }


def _read_pins(requirements: list[str]) -> dict[str, set[str]]:
    """Every version of each package: a lock has several where they depend on the Python."""
    pins: dict[str, set[str]] = {}
    for requirement in requirements:
        match = PINNED.fullmatch(requirement)
        assert match, f"{requirement!r} is not pinned"
        pins.setdefault(_normalise(match["name"]), set()).add(match["version"])
    return pins


def _read_locked(lock: str) -> dict[str, set[str]]:
    return _read_pins(list(_read_lock(lock)))


def _list_rows(text: str) -> list[tuple[str, str, str, str]]:
    """Dependency, license, purpose, and what was considered instead."""
    rows = re.findall(r"^\| (\S+) \| ([^|]+) \| (.+) \| (.+) \|$", text, re.MULTILINE)
    return [row for row in rows if row[0] not in HEADINGS]


def _list_explained(name: str) -> dict[str, tuple[str, str]]:
    text = (ROOT / "docs" / "dependencies.md").read_text()
    section = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
    return {_normalise(name): (purpose, instead) for name, _, purpose, instead in _list_rows(section)}


def _list_installed() -> dict[str, Distribution]:
    """Each package of the environments that are here."""
    folders = [path for venv in ROOT.glob(".venv*") for path in venv.glob("lib/python*/site-packages")]
    listed = distributions(path=[str(Path(__file__).parent), *map(str, folders)])
    return {_normalise(each.metadata["Name"]): each for each in listed}


def test_every_dependency_is_listed_with_the_license_of_its_metadata() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text().split("\n## requirements.txt\n")[1]
    installed, compared = _list_installed(), 0
    for name, license_, _, _ in _list_rows(text):
        package = installed.get(_normalise(name))
        stated = license_of(package) if package else None
        if stated is not None:
            assert license_ == stated, name
            compared += 1
    assert compared > 40


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_holds_the_very_versions_that_are_required(name: str) -> None:
    locked = _read_locked(LOCKS[name])
    for package, versions in _read_pins(_list_direct(name)).items():
        if (name, package) != ("frameworks", "torch"):
            assert locked[package] == versions, package


def test_the_frameworks_have_the_cpu_wheels_of_the_very_pytorch_that_is_required() -> None:
    (version,) = _read_pins(_list_direct("frameworks"))["torch"]
    assert set(_read_lock(TORCH)) == {
        f"torch=={version}+cpu ; sys_platform != 'darwin'",
        f"torch=={version} ; sys_platform == 'darwin'",
    }
    assert "torch" not in _read_locked(LOCKS["frameworks"])
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["dependency-metadata"]
    assert [(each["name"], each["version"]) for each in metadata] == [("torch", version)]


def test_a_framework_has_the_same_version_wherever_it_is_drilled() -> None:
    frameworks = _read_locked(LOCKS["frameworks"])
    for package, versions in _read_locked(LOCKS["training"]).items():
        assert frameworks[package] == versions, package


@pytest.mark.parametrize("name", [*LOCKS, SHARED])
def test_every_direct_dependency_is_explained_and_nothing_else_is(name: str) -> None:
    explained = _list_explained(name)
    assert explained.keys() == {_normalise(Requirement(each).name) for each in _list_direct(name)}
    assert all(len(purpose) > 5 and len(instead) > 5 for purpose, instead in explained.values())


@pytest.mark.parametrize("lock", ["requirements.lock", *(LOCKS[group] for group in _list_included("dev"))])
def test_the_demo_runs_the_versions_of_the_images_and_of_the_tools(lock: str) -> None:
    everything = _read_locked("locks/dev.lock")
    for package, versions in _read_locked(lock).items():
        assert everything[package] == versions, package


@pytest.mark.parametrize(
    ("folder", "lock"),
    [(".", "requirements.lock"), ("packages/local-sagemaker", "locks/local.lock")],
    ids=["the Airflow image", "the local SageMaker's image"],
)
def test_an_image_has_what_the_package_in_it_depends_on(folder: str, lock: str) -> None:
    project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
    locked = _read_locked(lock)
    assert project["dependencies"]
    for requirement in map(Requirement, project["dependencies"]):
        versions = locked[_normalise(requirement.name)]
        assert all(version in requirement.specifier for version in versions), requirement


@pytest.mark.parametrize("folder", [".", "packages/local-sagemaker"])
def test_the_tests_run_with_every_extra(folder: str) -> None:
    project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
    extras = [Requirement(each) for extra in project["optional-dependencies"].values() for each in extra]
    locked = _read_locked("locks/dev.lock")
    for requirement in extras:
        if requirement.name != project["name"]:
            versions = locked[_normalise(requirement.name)]
            assert all(version in requirement.specifier for version in versions), requirement


def test_what_earlier_airflows_share_names_no_versions() -> None:
    shared = _list_direct(SHARED)
    assert shared
    assert [each for each in shared if each != Requirement(each).name] == []
    assert _list_included(SHARED) == []


@pytest.mark.parametrize("group", EARLIER_AIRFLOWS)
def test_an_earlier_airflow_is_locked_with_all_that_it_shares(group: str) -> None:
    assert _list_included(group) == [SHARED]
    locked = _read_locked(LOCKS[group])
    assert locked["apache-airflow"] == {group.removeprefix("airflow-")}
    assert {_normalise(each) for each in _list_direct(SHARED)} <= locked.keys()


def test_each_earlier_airflow_has_the_day_until_which_its_packages_count() -> None:
    listed = re.search(r'^EARLIER_AIRFLOWS="([^"]+)"$', (ROOT / "scripts" / "lock").read_text(), re.MULTILINE)
    assert listed
    days = dict(line.split() for line in listed[1].splitlines())
    assert [f"airflow-{version}" for version in days] == EARLIER_AIRFLOWS
    assert list(days.values()) == sorted(date.fromisoformat(day).isoformat() for day in days.values())


def test_training_and_evaluation_use_the_same_xgboost() -> None:
    image, training = (_read_pins(_list_direct(name)) for name in ("requirements.txt", "training"))
    assert image["xgboost-cpu"] == training["xgboost-cpu"]


def test_every_lock_is_of_a_group_or_of_the_image() -> None:
    found = {str(path.relative_to(ROOT)) for path in ROOT.glob("**/*.lock") if ".venv" not in str(path)}
    assert found == {*LOCKS.values(), TORCH}


@pytest.mark.parametrize("lock", [*LOCKS.values(), TORCH])
def test_every_locked_package_has_hashes(lock: str) -> None:
    for requirement, hashes in _read_lock(lock).items():
        assert hashes, requirement
        assert all(HASH.fullmatch(word) for word in hashes), requirement


@pytest.mark.parametrize("lock", ["requirements.lock", "locks/dev.lock", "locks/training.lock"])
def test_a_lock_has_the_hashes_of_every_systems_files_and_not_only_of_this_one(lock: str) -> None:
    compiled = {
        requirement: hashes
        for requirement, hashes in _read_lock(lock).items()
        if requirement.startswith(("numpy==", "pandas==", "cryptography=="))
    }
    assert len(compiled) >= 3
    for requirement, hashes in compiled.items():
        assert len(hashes) > 20, requirement


@pytest.mark.parametrize("lock", [*LOCKS.values(), TORCH])
def test_a_lock_names_no_address_and_no_option_but_hashes(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "--" not in HASH.sub("", text)
