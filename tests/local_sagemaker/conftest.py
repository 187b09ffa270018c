"""A running local SageMaker, shared by the tests of this folder and emptied before each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .support import ROOT, Server, Simulation, running_server

#: Ten simulated minutes a second: a simulated job of half an hour takes three seconds, and a script has time.
SPEED = 600


@pytest.fixture
def simulation() -> Simulation:
    """An engine with capacity for everybody."""
    return Simulation()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    errors = tmp_path_factory.mktemp("server") / "errors.log"
    with running_server("--speed", str(SPEED), errors=errors) as server:
        yield server
    message = errors.read_text()
    assert "Traceback" not in message, message


@pytest.fixture
def server(shared_server: Server) -> Server:
    assert shared_server.control("POST", "reset")[0] == 200
    shared_server.client("s3").create_bucket(Bucket="bucket")
    return shared_server


@pytest.fixture(scope="session")
def training_python() -> str:
    """The interpreter scripts run on; without it, the tests that run scripts are skipped."""
    python = Path(os.environ.get("LOCAL_SAGEMAKER_PYTHON") or ROOT / ".venv-training" / "bin" / "python")
    if not python.exists():
        pytest.skip(f"no training environment at {python}")
    return str(python)
