"""A StatsD server that keeps what it gets."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cloud import ROOT, Cloud

#: A line of StatsD, with the tags as InfluxDB writes them.
LINE = re.compile(r"(?P<name>[^,:]+)(?P<tags>(?:,[^:]+)?):(?P<value>[^|]+)\|(?P<kind>c|g|ms)")


@dataclass(frozen=True, slots=True)
class Received:
    """One value of a metric."""

    name: str
    tags: Mapping[str, str]
    value: float
    kind: str


@dataclass
class StatsD:
    """A UDP socket, read by a thread."""

    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def _read(self) -> None:
        while packet := self._socket.recv(65536):
            self.lines += packet.decode().splitlines()

    def close(self) -> None:
        """Read what has arrived until now, and end."""
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join(10)
        self._socket.close()

    @property
    def received(self) -> list[Received]:
        found = []
        for line in self.lines:
            match = LINE.fullmatch(line)
            assert match is not None, line
            tags = dict(tag.split("=") for tag in match["tags"].split(",") if tag)
            found.append(Received(match["name"], tags, float(match["value"]), match["kind"]))
        return found

    def of(self, name: str, **tags: str) -> list[Received]:
        """What came of a metric with these tags, and perhaps others."""
        return [r for r in self.received if r.name == name and tags.items() <= r.tags.items()]

    def total(self, name: str, **tags: str) -> float:
        return sum(received.value for received in self.of(name, **tags))


def environment(statsd: StatsD, home: Path, **more: str) -> dict[str, str]:
    """Airflow's, with metrics to this server."""
    paths = [str(ROOT / "plugins"), str(ROOT / "packages" / "local-sagemaker"), str(ROOT)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]),
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(statsd.port),
        **more,
    }


@pytest.fixture
def statsd() -> Iterator[StatsD]:
    server = StatsD()
    yield server
    server.close()


@pytest.fixture(scope="session")
def seen(running_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> StatsD:
    """What arrived while a process ran the scenarios."""
    running_cloud.control("POST", "reset")
    running_cloud.client("s3").create_bucket(Bucket="bucket")
    home, server = tmp_path_factory.mktemp("metrics"), StatsD()
    try:
        subprocess.run(
            [sys.executable, "-m", "tests.metrics.scenarios", running_cloud.url, str(home)],
            cwd=ROOT,
            env=environment(
                server,
                home,
                AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED="True",
                AWS_ENDPOINT_URL=running_cloud.url,
                AWS_ACCESS_KEY_ID="test",
                AWS_SECRET_ACCESS_KEY="test",  # noqa: S106
                AWS_DEFAULT_REGION="us-east-1",
            ),
            check=True,
            timeout=120,
        )
    finally:
        server.close()
    return server
