"""Each test has an Airflow home, and a cloud that tasks reach without an Airflow connection."""

from __future__ import annotations

from pathlib import Path

import pytest

from spot_training.connections import AwsAccess
from tests.cloud import Cloud

from .support import fail


@pytest.fixture(autouse=True)
def own_home(home: Path) -> None:
    """Nothing reads or writes the ledger of this machine's own Airflow."""


@pytest.fixture
def drought(drought: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """A cloud where jobs wait, which tasks reach without an Airflow connection."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setattr(AwsAccess, "jobs", lambda _self: drought.jobs())
    monkeypatch.setattr(AwsAccess, "prices", fail)
    return drought
