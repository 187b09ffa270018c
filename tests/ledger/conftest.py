"""Each test has an Airflow home."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_home(home: Path) -> None:
    """Nothing reads or writes the ledger of this machine's own Airflow."""
