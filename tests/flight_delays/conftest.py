"""Real channels, real trainings in the training environment, and an S3 over HTTP."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from moto.server import ThreadedMotoServer

from include.flight_delays.data import prepare_channels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mypy_boto3_s3 import S3Client

    from include.flight_delays.data import Channels

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "include" / "training" / "flight_delays" / "train.py"
AS_OF = date(2013, 6, 3)
BUCKET = "models"


@pytest.fixture(scope="session")
def training_python() -> Path:
    python = Path(os.environ.get("LOCAL_SAGEMAKER_PYTHON") or ROOT / ".venv-training" / "bin" / "python")
    if not python.exists():
        pytest.skip(f"the training environment is not installed: no {python} (set LOCAL_SAGEMAKER_PYTHON)")
    return python


@pytest.fixture(scope="session")
def channels(tmp_path_factory: pytest.TempPathFactory) -> Channels:
    """Eight weeks of flights, as the Dag trains on."""
    return prepare_channels(AS_OF, tmp_path_factory.mktemp("eight-weeks"))


@pytest.fixture(scope="session")
def small_channels(tmp_path_factory: pytest.TempPathFactory) -> Channels:
    """One week to train on: a round takes milliseconds."""
    return prepare_channels(AS_OF, tmp_path_factory.mktemp("two-weeks"), weeks=2)


class Training:
    """Starts the script as a container would, with SM_ variables and hyperparameters."""

    def __init__(self, python: Path, channels: Channels, folder: Path) -> None:
        self.python = python
        self.channels = channels
        self.model_dir = folder / "model"
        self.checkpoint_dir = folder / "checkpoints"
        self.working_dir = folder

    def start(self, **hyperparameters: object) -> subprocess.Popen[str]:
        arguments = [word for name, value in hyperparameters.items() for word in (f"--{name}", str(value))]
        return subprocess.Popen(
            [str(self.python), str(SCRIPT), *arguments],
            cwd=self.working_dir,
            env={
                "PATH": os.environ["PATH"],
                "SM_CHANNEL_TRAIN": self.channels.train.uri,
                "SM_CHANNEL_VALIDATION": self.channels.validation.uri,
                "SM_MODEL_DIR": str(self.model_dir),
                "SM_CHECKPOINT_DIR": str(self.checkpoint_dir),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, **hyperparameters: object) -> str:
        with self.start(**hyperparameters) as process:
            output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        return output

    def run_until(self, line_start: str, **hyperparameters: object) -> str:
        """SIGKILL the script as soon as it prints a line that starts so, and return what it printed."""
        lines = []
        with self.start(**hyperparameters) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if line.startswith(line_start):
                    process.kill()
                    break
        assert process.returncode == -9, "".join(lines)
        return "".join(lines)

    def artifact(self) -> bytes:
        """The model folder as SageMaker packs it."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for path in sorted(self.model_dir.iterdir()):
                archive.add(path, arcname=path.name)
        return buffer.getvalue()


@pytest.fixture
def training_factory(
    training_python: Path, small_channels: Channels, tmp_path: Path
) -> Callable[..., Training]:
    def make(name: str = "training", channels: Channels = small_channels) -> Training:
        folder = tmp_path / name
        folder.mkdir()
        return Training(training_python, channels, folder)

    return make


@pytest.fixture(scope="session")
def artifacts(
    training_python: Path, small_channels: Channels, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """Two real models, one of which has learned something."""
    made = {}
    for name, rounds, depth in (("good", 120, 5), ("poor", 1, 1)):
        training = Training(training_python, small_channels, tmp_path_factory.mktemp(name))
        training.run(num_round=rounds, max_depth=depth, eta=0.05)
        made[name] = training.artifact()
    return made


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def make_s3(s3_address: str) -> Iterator[Callable[[], S3Client]]:
    made: list[S3Client] = []

    def make() -> S3Client:
        client = boto3.client(
            "s3",
            endpoint_url=s3_address,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",  # noqa: S106
        )
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def s3(make_s3: Callable[[], S3Client]) -> Iterator[S3Client]:
    """A client of an S3 with one empty bucket, named models."""
    client = make_s3()
    client.create_bucket(Bucket=BUCKET)
    yield client
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for item in page.get("Contents", []):
            client.delete_object(Bucket=BUCKET, Key=item["Key"])
    client.delete_bucket(Bucket=BUCKET)
