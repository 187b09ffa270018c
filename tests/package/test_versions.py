"""The wheel next to each Airflow that is supported: pip installs it, and moves nothing that is there."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from .conftest import ROOT, make_environment
from .support import list_installed

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

GROUPS = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
EARLIER = sorted(group.removeprefix("airflow-") for group in GROUPS if group.startswith("airflow-"))
OLDEST = EARLIER[0]


def test_the_oldest_airflow_that_is_tested_is_the_oldest_that_the_package_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"apache-airflow>={OLDEST}" in project["dependencies"]


@pytest.mark.parametrize(
    "version",
    [pytest.param(each, marks=() if each == OLDEST else pytest.mark.long) for each in EARLIER],
)
def test_pip_adds_the_wheel_to_an_earlier_airflow_and_moves_nothing(
    tmp_path: Path, dist: Path, version: str
) -> None:
    environment = make_environment(tmp_path)
    environment.install("pip", "--requirements", str(ROOT / "locks" / f"airflow-{version}.lock"))
    before = list_installed(environment)
    assert before["apache-airflow"] == version
    wheel = next(dist.glob("airflow_provider_*.whl"))
    environment.run("python", "-m", "pip", "install", "--quiet", f"{wheel}[all]")
    after = list_installed(environment)
    assert after.items() >= before.items()
    assert "airflow-provider-spot-training" in after
    assert "No broken requirements" in environment.run("python", "-m", "pip", "check")
