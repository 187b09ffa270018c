"""The wheel over that of 0.2.0, as pip upgrades it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.upgrade.support import WHEEL

from .conftest import make_environment


@pytest.mark.slow
def test_the_wheel_replaces_that_of_0_2_0_and_leaves_nothing_of_it(tmp_path: Path, dist: Path) -> None:
    environment = make_environment(tmp_path)
    (new,) = dist.glob("airflow_provider_*.whl")
    environment.install("--no-deps", str(WHEEL))
    # Between releases the version is still the earlier one's.
    environment.install("--no-deps", "--reinstall", str(new))
    (installed,) = environment.folder.glob("lib/python*/site-packages/spot_training")
    found = {
        f"spot_training/{path.relative_to(installed)}" for path in installed.rglob("*") if path.is_file()
    }
    with zipfile.ZipFile(new) as wheel:
        assert {name for name in found if "__pycache__" not in name} == {
            name for name in wheel.namelist() if name.startswith("spot_training/")
        }
    assert environment.run("spot-training", "--version").strip()
