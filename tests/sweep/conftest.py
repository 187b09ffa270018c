"""Each test has an Airflow home."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cloud import Cloud


@pytest.fixture(autouse=True)
def own_home(home: Path) -> None:
    """Nothing reads or writes the ledger of this machine's own Airflow."""


@pytest.fixture
def patient(cloud: Cloud) -> Cloud:
    """A cloud whose jobs stay alive: they wait for capacity."""
    cloud.set_capacity(available=False)
    return cloud
