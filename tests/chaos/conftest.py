"""One lab with LocalExecutor for all of the suite; the one with Celery is in `test_celery.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .support import Lab, chaos_lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with chaos_lab(tmp_path_factory.mktemp("chaos")) as running:
        yield running
